"""Run a workload on each of its servers in turn, so that whatever else the machine does falls on all of them."""

import subprocess
import time

import botocore.exceptions
import psycopg

from bench import report
from bench.clients.fleet import ClientError
from bench.clients.upper_layer import ProtocolError
from bench.servers.process import ServerError
from bench.workloads.model import Ground, Subject, Workload
from imagerepo.errors import ImagerepoError
from tests.testbed.daemon import BedError

FAILURES = (
    *(ClientError, ProtocolError, ServerError, ImagerepoError, subprocess.SubprocessError, OSError),
    *(BedError, psycopg.Error, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError),
)
"""What a workload may end with and the others go on; the run as a whole fails then."""


def measure(workload: Workload, ground: Ground, repeats: int, results: report.Results) -> None:
    """Add what so many repeats bring; each begins with another server."""
    if not workload.servers:
        return
    results.workloads.append(workload)
    print(f"\n{workload.name}: {workload.what}", flush=True)
    failed: set[type[Subject]] = set()
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
