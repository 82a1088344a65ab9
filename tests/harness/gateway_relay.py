"""A gateway of S3 with something between it and its clients, which does them harm when told to."""

import contextlib
import http.client
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.harness.certificates import Files

_SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"
_PASSED_ON_ANEW = {"expect", "transfer-encoding", "connection"}


class Harm(Enum):
    ALTER_BODY = auto()  # one bit of it, on its way to the gateway
    LOSE_ANSWER = auto()  # the gateway has done it, the connection ends
    SLOW_DOWN = auto()  # 503, the gateway never hears of it
    HOLD = auto()  # handed on once the relay is told to go on
    HOLD_ANSWER = auto()  # the gateway has done it, the answer is handed on then
    NONE = auto()  # handed on; what is to be done to later ones waits for it


class Relay:
    """Hands on each request, unless told otherwise; with a certificate, clients speak TLS to it."""

    def __init__(self, gateway: str, certificate: Files | None = None) -> None:
        self.gateway = urlsplit(gateway).netloc
        self.asked = 0  # requests
        self.held = threading.Event()  # once a request is held
        self.go_on = threading.Event()  # lets it go on
        self._harm: list[tuple[Harm, str, str]] = []
        self._always: Harm | None = None
        self._lock = threading.Lock()
        relay = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                with contextlib.suppress(OSError):
                    super().handle_one_request()

            def log_message(self, *_: object) -> None:
                """Says nothing."""

            def do_any(self) -> None:
                relay._hand_on(self)

        for method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
            setattr(Handler, f"do_{method}", Handler.do_any)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate.certificate, certificate.key)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        scheme = "http" if certificate is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"

    def harm(self, *harm: Harm, method: str, containing: str = "") -> None:
        """To the next requests of that method and path, one after another."""
        with self._lock:
            self._harm += [(one, method, containing) for one in harm]

    def always(self, harm: Harm | None) -> None:
        self._always = harm

    @property
    def harm_left(self) -> int:
        return len(self._harm)

    def _for(self, method: str, path: str) -> Harm | None:
        with self._lock:
            self.asked += 1
            if self._always is not None:
                return self._always
            if self._harm and self._harm[0][1] == method and self._harm[0][2] in path:
                return self._harm.pop(0)[0]
            return None

    def _hand_on(self, asking: BaseHTTPRequestHandler) -> None:
        body = asking.rfile.read(int(asking.headers.get("Content-Length") or 0))
        harm = self._for(asking.command, asking.path)
        if harm is Harm.SLOW_DOWN:
            _answer(asking, 503, [("Content-Type", "application/xml")], _SLOW_DOWN)
            return
        if harm is Harm.ALTER_BODY:
            body = bytes([body[0] ^ 1]) + body[1:]
        if harm is Harm.HOLD:
            self._hold()
        headers = {name: value for name, value in asking.headers.items() if name.lower() not in _PASSED_ON_ANEW}
        connection = http.client.HTTPConnection(self.gateway, timeout=30)
        try:
            connection.request(asking.command, asking.path, body, headers)
            answer = connection.getresponse()
            found = answer.read()
        finally:
            connection.close()
        if harm is Harm.HOLD_ANSWER:
            self._hold()
        if harm is Harm.LOSE_ANSWER:
            asking.close_connection = True
            return
        kept = [(name, value) for name, value in answer.getheaders() if name.lower() not in _PASSED_ON_ANEW]
        _answer(asking, answer.status, kept, found)

    def _hold(self) -> None:
        self.held.set()
        self.go_on.wait(60)

    def _serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    @contextmanager
    def running(self) -> Iterator["Relay"]:
        thread = threading.Thread(target=self._serve)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()


def _answer(asking: BaseHTTPRequestHandler, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    asking.send_response_only(status)
    for name, value in headers:
        if name.lower() != "content-length" or asking.command == "HEAD":
            asking.send_header(name, value)
    if asking.command != "HEAD":
        asking.send_header("Content-Length", str(len(body)))
    asking.end_headers()
    if asking.command != "HEAD":
        asking.wfile.write(body)
