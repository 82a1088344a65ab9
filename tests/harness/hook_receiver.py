"""A webhook's receiver: takes messages over HTTP as it is told to, checks their signatures, remembers them."""

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

SECRET = "whsec_" + base64.b64encode(b"a secret that is long enough").decode()


@dataclass(frozen=True)
class Message:
    """One that came."""

    id: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def changes(self) -> list[dict[str, Any]]:
        return json.loads(self.body)["data"]["changes"]

    def is_signed_by(self, secret: str) -> bool:
        """Whether one of its signatures is made with that secret: Standard Webhooks, as a receiver checks it."""
        key = base64.b64decode(secret.removeprefix("whsec_")) if secret.startswith("whsec_") else secret.encode()
        signed = f"{self.id}.{self.headers['webhook-timestamp']}.".encode() + self.body
        wanted = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        return wanted in self.headers["webhook-signature"].split()


@dataclass
class HookReceiver:
    """What came, and what is answered: a status, or a redirection."""

    answer: Callable[[Message], int | str] = lambda _: 204
    messages: list[Message] = field(default_factory=list)
    port: int = 0
    secure: ssl.SSLContext | None = None  # None: in the clear

    @property
    def url(self) -> str:
        return f"{'https' if self.secure else 'http'}://127.0.0.1:{self.port}/hook"

    def changes(self) -> list[dict[str, Any]]:
        """All that was told and taken, in order; a message that came twice counts once."""
        taken = {one.id: one for one in self.messages if self.answer(one) == 204}
        return [change for one in taken.values() for change in one.changes]

    def told(self) -> list[str]:
        """Likewise: the instance, or the study where it is about all of it."""
        return [one.get("instance", one["study"]) for one in self.changes()]

    @contextmanager
    def serving(self, port: int = 0) -> Iterator[None]:
        """Serve until the context is left; on the port that it had, if it served before."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                message = Message(headers["webhook-id"], self.path, headers, body)
                receiver.messages.append(message)
                answer = receiver.answer(message)
                self.send_response(answer if isinstance(answer, int) else 307)
                if isinstance(answer, str):
                    self.send_header("Location", answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

        with Server(("127.0.0.1", port or self.port), Handler) as server:
            self.port = server.server_port
            if self.secure is not None:
                server.socket = self.secure.wrap_socket(server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


def hook(url: str, folder: Path, name: str = "receiver", **more: object) -> dict[str, object]:
    """A webhook's setting, with a file for its secret."""
    file = folder / f"{name}.secret"
    if not file.exists():
        file.write_text(f"{SECRET}\n")
    return {"name": name, "url": url, "secret_file": str(file), "timeout": 1, **more}
