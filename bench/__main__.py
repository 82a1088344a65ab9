"""Measure the service and its peers: `python -m bench --help`."""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bench import machine, report
from bench.clients.fleet import ClientError
from bench.clients.upper_layer import ProtocolError
from bench.servers.process import Server, ServerError
from bench.workloads.all import BY_NAME, WORKLOADS
from bench.workloads.model import Ground, Workload
from imagerepo.errors import ImagerepoError

RESULTS = Path(__file__).with_name("results")
WORK = RESULTS / "work"
FAILURES = (ClientError, ProtocolError, ServerError, ImagerepoError, subprocess.SubprocessError, OSError)
"""What a workload may end with and the others go on; the run as a whole fails then."""

FULL = Ground(WORK, instances=500, series=1000, seconds=5, scales=(10_000, 1_000_000))
QUICK = Ground(WORK, instances=100, series=100, seconds=2, scales=(1_000, 10_000))


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; return 0 when all of it was measured."""
    options = _options(arguments)
    chosen = [_with_servers(BY_NAME[name], options.servers) for name in options.only or BY_NAME]
    missing = sorted(set().union(*(workload.missing() for workload in chosen)))
    if missing:
        print("bench: cannot measure, " + "; ".join(missing), file=sys.stderr)
        return 2
    WORK.mkdir(parents=True, exist_ok=True)
    # A server is a session of its own: let its context stop it when this process is told to end.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    ground = QUICK if options.quick else FULL
    repeats = 1 if options.quick else options.repeats
    settings = {
        "repeats": str(repeats),
        "amounts": f"{ground.instances} instances (series-zip: {ground.series}), {ground.seconds} s of load"
        + (" — QUICK, less than the workloads' descriptions say" if options.quick else ""),
    }
    results = report.Results(machine.describe(WORK), settings)
    partial = options.quick or options.only or options.servers
    folder, name = (WORK, "partial") if partial else (RESULTS, "spine")
    for workload in chosen:
        _measure(workload, ground, 1 if workload.single else repeats, results)
        results.write(folder, name)
    print(f"\nwritten: {folder.name}/{name}.md and .json" + (" (a partial run)" if partial else ""))
    for failure in results.failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if results.failures else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    servers = sorted({server.name for workload in WORKLOADS for server in workload.servers})
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure the service and its peers with the same clients, interleaved, in one run.",
        epilog="Workloads: " + "; ".join(f"{workload.name}: {workload.what}" for workload in WORKLOADS),
    )
    parser.add_argument(
        "--only", action="append", choices=BY_NAME, metavar="NAME", help="this workload; may be repeated"
    )
    parser.add_argument("--servers", type=lambda text: text.split(","), help=f"some of {','.join(servers)}")
    parser.add_argument("--repeats", type=int, default=3, help="how often each server is measured (3)")
    parser.add_argument("--quick", action="store_true", help="1 repeat of 100 instances: to see that all works")
    options = parser.parse_args(arguments)
    unknown = set(options.servers or ()) - set(servers)
    if unknown:
        parser.error(f"no such server: {', '.join(sorted(unknown))}")
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    return options


def _with_servers(workload: Workload, names: Sequence[str] | None) -> Workload:
    servers = tuple(server for server in workload.servers if names is None or server.name in names)
    return replace(workload, servers=servers)


def _measure(workload: Workload, ground: Ground, repeats: int, results: report.Results) -> None:
    if not workload.servers:
        return
    results.workloads.append(workload)
    print(f"\n{workload.name}: {workload.what}", flush=True)
    failed: set[type[Server]] = set()
    for repeat in range(repeats):
        turn = repeat % len(workload.servers)
        for server in workload.servers[turn:] + workload.servers[:turn]:
            if server in failed:
                continue
            start = time.monotonic()
            try:
                measured = workload.run(server, ground)
            except FAILURES as error:
                failed.add(server)
                results.drop(workload, server)
                print(f"  ! {server.name}: {type(error).__name__}: {error}", flush=True)
                # The first line only: what follows is a log, which has no place in a report.
                reason = (str(error) or type(error).__name__).splitlines()[0]
                results.failures.append(f"{workload.name}, {server.name}: {reason}")
                continue
            results.add(workload, server, measured)
            figures = ", ".join(f"{one.metric} {report.figure(one.value)}" for one in measured)
            cores = max(one.client_cores for one in measured)
            took = time.monotonic() - start
            print(f"  {repeat + 1} {server.name:<11} {figures}; client {cores:.2f} cores; {took:.0f} s", flush=True)
    print("\n" + "\n".join(report.table(results, workload)[4:]), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
