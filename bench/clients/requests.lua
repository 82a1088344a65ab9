-- wrk script: every thread asks for each path of a file in turn, each from a place of its own.
-- Arguments after "--": the file of paths, the Accept header, the number of threads.

local threads = 0

function setup(thread)
   thread:set("number", threads)
   threads = threads + 1
end

function init(args)
   local file, accept, of = args[1], args[2], tonumber(args[3])
   prepared = {}
   for path in io.lines(file) do
      prepared[#prepared + 1] = wrk.format("GET", path, { ["Accept"] = accept })
   end
   position = math.floor(#prepared * number / of)
end

function request()
   position = position % #prepared + 1
   return prepared[position]
end

function done(summary, latency)
   local e = summary.errors
   io.write(string.format(
      'RESULT {"requests": %d, "bytes": %d, "microseconds": %d, "connect": %d, "read": %d, '
         .. '"write": %d, "status": %d, "timeout": %d, "p50": %d, "p95": %d, "p99": %d}\n',
      summary.requests, summary.bytes, summary.duration, e.connect, e.read,
      e.write, e.status, e.timeout,
      latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
