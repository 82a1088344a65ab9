"""Many small reads at once: wrk, with one list of paths for every server."""

import json
import resource
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.clients.fleet import ClientError, own_cpu

SCRIPT = Path(__file__).with_name("requests.lua")
THREADS = 2
"""One is busy all the time at 9,000 responses of 512 KB a second, which nginx exceeds."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw."""

    requests: int
    size: int  # bytes, bodies and headers
    seconds: float
    p95: float  # seconds
    client_cpu: float  # seconds

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds

    @property
    def client_cores(self) -> float:
        """Client CPU in cores: 1.0 is one core busy all the time."""
        return self.client_cpu / self.seconds


@dataclass(frozen=True, slots=True)
class Reads:
    """What to ask a server for."""

    port: int
    paths: Sequence[str]
    accept: str
    smallest: int  # bytes: an answer below it is not the resource


def load(reads: Reads, connections: int, seconds: int, scratch: Path) -> Load:
    """Ask for the paths over and over.

    Raises:
        ClientError: wrk failed, any request failed, or answers were too small to be the resource.
    """
    listing = scratch / "paths.txt"
    listing.write_text("".join(f"{path}\n" for path in reads.paths))
    arguments = (
        "-t",
        str(THREADS),
        "-c",
        str(connections),
        "-d",
        f"{seconds}s",
        "--timeout",
        "30s",
        "-s",
        str(SCRIPT),
    )
    cpu = own_cpu(resource.RUSAGE_CHILDREN)
    finished = subprocess.run(
        ("wrk", *arguments, f"http://127.0.0.1:{reads.port}", "--", str(listing), reads.accept, str(THREADS)),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + 60,
    )
    cpu = own_cpu(resource.RUSAGE_CHILDREN) - cpu
    lines = [line for line in finished.stdout.splitlines() if line.startswith("RESULT ")]
    if finished.returncode or not lines:
        raise ClientError(f"wrk failed: {finished.stdout[-500:]} {finished.stderr[-500:]}")
    seen = json.loads(lines[0].removeprefix("RESULT "))
    failed = {kind: seen[kind] for kind in ("connect", "read", "write", "status", "timeout") if seen[kind]}
    if failed or not seen["requests"]:
        raise ClientError(f"of {seen['requests']} requests some failed: {failed}")
    if seen["bytes"] < seen["requests"] * reads.smallest:
        raise ClientError(f"answers of {seen['bytes'] / seen['requests']:.0f} bytes are not the resource")
    return Load(seen["requests"], seen["bytes"], seen["microseconds"] / 1e6, seen["p95"] / 1e6, cpu)
