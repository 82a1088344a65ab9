"""Unmodified senders: dcmtk's storescu and dcmsend as Debian ships them."""

import os
import resource
import subprocess
import time
from collections.abc import Sequence
from enum import Enum

from bench.clients.fleet import ClientError, Run, own_cpu
from bench.generate import Instance
from bench.servers.process import NAGLE_VARIABLE

LIMIT = 300  # seconds


class Sender(Enum):
    """A program, with the only option it needs."""

    STORESCU = "storescu"
    DCMSEND = "dcmsend"


def send(sender: Sender, port: int, called: str, instances: Sequence[Instance]) -> Run:
    """Store `instances` over one association, in the environment of a user who sets nothing.

    The time includes the program's start, about 10 ms, and its reading of the files.

    Raises:
        ClientError: the program failed.
    """
    environment = {name: value for name, value in os.environ.items() if name != NAGLE_VARIABLE}
    cpu, start = own_cpu(resource.RUSAGE_CHILDREN), time.perf_counter()
    finished = subprocess.run(
        (sender.value, "-aec", called, "127.0.0.1", str(port), *(str(instance.path) for instance in instances)),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    seconds = time.perf_counter() - start
    if finished.returncode:
        raise ClientError(f"{sender.value} ended with {finished.returncode}: {finished.stderr[-500:]}")
    return Run(seconds, own_cpu(resource.RUSAGE_CHILDREN) - cpu)
