"""A DICOMweb server that stores in memory and misbehaves as it is told: as other servers, proxies and bad days do."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import TypeAlias

from pydicom import dcmread
from pydicom.filebase import DicomBytesIO


@dataclass
class Asked:
    """One request."""

    number: int  # from 1, in order of arrival
    path: str
    headers: dict[str, str]
    parts: list[bytes]

    @property
    def instances(self) -> list[str]:
        """SOP Instance UIDs."""
        return [str(dcmread(DicomBytesIO(part), stop_before_pixels=True).SOPInstanceUID) for part in self.parts]


@dataclass
class Reply:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False  # nothing is answered, the connection ends


Behaviour: TypeAlias = Callable[[Asked], Reply | None]
"""What a request is answered; None: it is stored."""


@dataclass
class StorePeer:
    """The peer, and what it has seen."""

    behave: Behaviour
    stored: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    port: int = 0
    _lock: Lock = field(default_factory=Lock)

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicomweb"

    def take(self, path: str, headers: dict[str, str], parts: list[bytes]) -> Reply:
        """Answer one request."""
        with self._lock:
            asked = Asked(len(self.asked) + 1, path, headers, parts)
            self.asked.append(asked)
            reply = self.behave(asked)
            if reply is None:
                self.stored.update(zip(asked.instances, parts, strict=True))
                return Reply(200, answer(asked.instances))
            return reply


def answer(stored: list[str], failed: dict[str, int] | None = None) -> bytes:
    """A Store Instances Response Module."""
    said = {
        "00081199": {"vr": "SQ", "Value": [_item(uid) for uid in stored]},
        "00081198": {
            "vr": "SQ",
            "Value": [_item(uid) | {"00081197": {"vr": "US", "Value": [why]}} for uid, why in (failed or {}).items()],
        },
    }
    return json.dumps(said).encode()


def _item(uid: str) -> dict[str, object]:
    return {"00081155": {"vr": "UI", "Value": [uid]}}


@contextmanager
def store_peer(behave: Behaviour = lambda _asked: None) -> Iterator[StorePeer]:
    """Serve until the context is left."""
    peer = StorePeer(behave)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            boundary = b"--" + self.headers["Content-Type"].rpartition("boundary=")[2].encode()
            parts = [part.partition(b"\r\n\r\n")[2][:-2] for part in body.split(boundary)[1:-1]]
            reply = peer.take(self.path, dict(self.headers), parts)
            if reply.hang_up:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def do_GET(self) -> None:
            self.send_error(501)  # it only stores

        def log_message(self, format: str, *_args: object) -> None:  # noqa: A002 - its name there
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    peer.port = server.server_address[1]
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield peer
    finally:
        server.shutdown()
        server.server_close()
