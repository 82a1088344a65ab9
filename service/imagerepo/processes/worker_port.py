"""What Kubernetes and Prometheus ask a worker: /healthz, /readyz, /metrics as a server has them, and nothing else."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from prometheus_client import generate_latest

from imagerepo.errors import ImagerepoError, SettingsError

_SILENCE: Final = 5.0  # seconds that a client may take over its request
_TEXT: Final = "text/plain; charset=utf-8"
_METRICS: Final = "text/plain; version=0.0.4; charset=utf-8"


class WorkerPort:
    """Listens until the process ends."""

    def __init__(self, listen: tuple[str, int], check: Callable[[], None]) -> None:
        """Begin to listen.

        Args:
            listen: host and port.
            check: raises UnavailableError where nothing can be done now.

        Raises:
            SettingsError: the port is taken, or none of ours.
        """

        class Handler(BaseHTTPRequestHandler):
            timeout = _SILENCE

            def do_GET(self) -> None:
                """Answer one request."""
                status, content_type, body = _answer(self.path.partition("?")[0], check)
                self.send_response_only(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
                """Probes are not worth a line."""

        try:
            self._server = ThreadingHTTPServer(listen, Handler)
        except OSError as error:
            raise SettingsError(
                f"--listen: cannot listen at {listen[0]}:{listen[1]}: {error.strerror}; name another port"
            ) from error
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="probes", daemon=True).start()

    @property
    def address(self) -> tuple[str, int]:
        """Where it listens."""
        host, port = self._server.server_address[:2]
        return str(host), port


def _answer(path: str, check: Callable[[], None]) -> tuple[int, str, bytes]:
    match path:
        case "/healthz":
            return 200, _TEXT, b"ok\n"
        case "/readyz":
            try:
                check()
            except ImagerepoError as error:
                return 503, _TEXT, f"{error}\n".encode()
            return 200, _TEXT, b"ok\n"
        case "/metrics":
            return 200, _METRICS, generate_latest()
        case _:
            return 404, _TEXT, b"a worker has /healthz, /readyz and /metrics\n"
