"""The least that HAProxy takes for a replica: at each connection it says whom the PROXY header names."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from imagerepo import proxy_protocol
from tests.testbed.plan import HOST, Replica

_WITHIN = 20.0  # seconds


class _Plain(socketserver.BaseRequestHandler):
    """The client's address, and the end."""

    def handle(self) -> None:
        self.request.settimeout(_WITHIN)
        self.request.sendall(self.named().encode())

    def named(self) -> str:
        """The client's address; empty: HAProxy asks on its own behalf."""
        received = b""
        while (missing := proxy_protocol.missing(received)) > 0:
            more = self.request.recv(missing)
            assert more, f"no PROXY header, but {received!r}"
            received += more
        header = proxy_protocol.parse(received)
        assert header is not None
        assert header.length == len(received)
        return header.source_address or ""


class _Http(_Plain):
    """The client's address as the body of an answer to any request."""

    def handle(self) -> None:
        self.request.settimeout(_WITHIN)
        body = self.named().encode()
        asked = b""
        while b"\r\n\r\n" not in asked:
            more = self.request.recv(4096)
            if not more:
                return
            asked += more
        head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        self.request.sendall(head.encode() + body)


class _Listener(socketserver.ThreadingTCPServer):
    """On a port that HAProxy has just tried."""

    allow_reuse_address = True


@contextmanager
def listening(replica: Replica) -> Iterator[None]:
    """Listen at both of its ports."""
    with ExitStack() as ending:
        for port, kind in ((replica.http_port, _Http), (replica.dimse_port, _Plain)):
            server = ending.enter_context(_Listener((HOST, port), kind))
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            ending.callback(thread.join)
            ending.callback(server.shutdown)
        yield
