"""A STOW-RS sender whose requests, headers and multipart bodies, are ready before the time runs.

Source: PS3.18 section 10.5 (Store Transaction).
"""

import json
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPResponse

from bench.clients import fleet
from bench.generate import Instance

BOUNDARY = "imagerepo-bench-7d3f"
SOCKET_TIMEOUT = 300  # seconds
REFERENCED_SOP_SEQUENCE = "00081199"
FAILED_SOP_SEQUENCE = "00081198"


@dataclass(frozen=True, slots=True)
class _Part:
    port: int
    path: str
    batches: Sequence[Sequence[Instance]]


def send(port: int, path: str, instances: Sequence[Instance], batch: int, connections: int = 1) -> fleet.Run:
    """Store `instances` in requests of `batch` each, one after the other on each of `connections`."""
    batches = [instances[start : start + batch] for start in range(0, len(instances), batch)]
    parts = [_Part(port, path, batches[n::connections]) for n in range(connections)]
    return fleet.run(_prepare, parts)


def encode(port: int, path: str, instances: Sequence[Instance]) -> bytes:
    """Return one whole request."""
    pieces: list[bytes] = []
    for instance in instances:
        pieces += (f"\r\n--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode(), instance.path.read_bytes())
    pieces.append(f"\r\n--{BOUNDARY}--\r\n".encode())
    head = (
        f"POST {path}/studies HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: application/dicom+json\r\n"
        f'Content-Type: multipart/related; type="application/dicom"; boundary={BOUNDARY}\r\n'
        f"Content-Length: {sum(map(len, pieces))}\r\n\r\n"
    )
    return b"".join([head.encode(), *pieces])


def _prepare(part: _Part) -> Callable[[], list[float]]:
    requests = [(len(batch), encode(part.port, part.path, batch)) for batch in part.batches]
    connection = socket.create_connection(("127.0.0.1", part.port), timeout=SOCKET_TIMEOUT)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def work() -> list[float]:
        latencies: list[float] = []
        answers: list[tuple[int, int, bytes]] = []
        for count, request in requests:
            start = time.perf_counter()
            connection.sendall(request)
            response = HTTPResponse(connection, method="POST")
            response.begin()
            answers.append((count, response.status, response.read()))
            latencies.append(time.perf_counter() - start)
        connection.close()
        for count, status, body in answers:
            _check(count, status, body)
        return latencies

    return work


def _check(count: int, status: int, body: bytes) -> None:
    if status != 200:
        raise fleet.ClientError(f"STOW was answered with {status}: {body[:300]!r}")
    answer = json.loads(body)
    stored = len(answer.get(REFERENCED_SOP_SEQUENCE, {}).get("Value", []))
    failed = len(answer.get(FAILED_SOP_SEQUENCE, {}).get("Value", []))
    if (stored, failed) != (count, 0):
        raise fleet.ClientError(f"of {count} instances in a STOW request {stored} were stored, {failed} failed")
