"""Fetch one resource as fast as the loopback gives it, into one buffer that is reused.

Bytes are counted and the end of the body is checked, nothing else: what the bytes are is checked once,
outside the measured time, with `content`.
"""

import socket
import time
from dataclasses import dataclass
from http.client import HTTPConnection

from bench.clients.fleet import ClientError, own_cpu

BUFFER = 1 << 20  # bytes
LEAST = 256 << 10
"""Bytes that must have come before the client wakes, once the body has begun; or its end. Woken for each segment it
would be the limit: in a virtual machine it is the sender who pays for each waking, more than for what it sends."""
SOCKET_TIMEOUT = 600  # seconds
HEAD_LIMIT = 65_536  # bytes


@dataclass(frozen=True, slots=True)
class Download:
    """One response, without its content."""

    size: int  # bytes of the body as it came
    seconds: float  # from the request's first byte to the response's last
    first_byte: float  # seconds until the response began
    client_cpu: float  # seconds

    @property
    def client_cores(self) -> float:
        """Client CPU in cores: 1.0 is one core busy all the time."""
        return self.client_cpu / self.seconds


def timed(port: int, path: str, accept: str) -> Download:
    """GET over a new connection, which the server closes after the response.

    Raises:
        ClientError: the status is not 200, or the body ended early.
    """
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
    buffer = memoryview(bytearray(BUFFER))
    cpu, start = own_cpu(), time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), timeout=SOCKET_TIMEOUT) as connection:
        connection.sendall(request.encode())
        head, rest = b"", b""
        first_byte = 0.0
        while not rest and b"\r\n\r\n" not in head:
            piece = connection.recv(HEAD_LIMIT)
            first_byte = first_byte or time.perf_counter() - start
            if not piece:
                raise ClientError(f"the connection ended within the header of {path}: {head[:300]!r}")
            head += piece
        head, _, rest = head.partition(b"\r\n\r\n")
        size, tail = len(rest), rest[-5:]
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, LEAST)
        while received := connection.recv_into(buffer):
            size += received
            tail = (tail + bytes(buffer[max(0, received - 5) : received]))[-5:]
    seconds = time.perf_counter() - start
    _check(path, head, size, tail)
    return Download(size, seconds, first_byte, own_cpu() - cpu)


def _check(path: str, head: bytes, size: int, tail: bytes) -> None:
    status, *lines = head.decode("latin-1").split("\r\n")
    if status.split(" ")[1] != "200":
        raise ClientError(f"{path}: {status}")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        complete = tail == b"0\r\n\r\n"
    else:
        complete = "content-length" not in headers or size == int(headers["content-length"])
    if not complete:
        raise ClientError(f"{path}: the body ended early, after {size} bytes")


def content(port: int, path: str, accept: str) -> bytes:
    """Return a whole body, for checks and for small answers; not for timing.

    Raises:
        ClientError: the status is not 200.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=SOCKET_TIMEOUT)
    try:
        connection.request("GET", path, headers={"Accept": accept})
        response = connection.getresponse()
        body = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise ClientError(f"{path}: {response.status} {body[:300]!r}")
    return body
