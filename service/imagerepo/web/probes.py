"""What Kubernetes and Prometheus ask; never a token.

`/healthz`: this process answers. `/readyz`: it can read, and is not on its way out.
`/readyz/write`: it can ingest too.

With `?unready=404` one that cannot says so by 404: HAProxy then gives it no new connections and leaves it those that
it has (`http-check disable-on-404`), which it takes from a server that does not answer.
"""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from imagerepo.errors import ImagerepoError, OutOfSpaceError, UnavailableError
from imagerepo.flows.repository import Repository
from imagerepo.web.faults import MethodError
from imagerepo.web.state import ServingState

_TEXT: Final = b"text/plain; charset=utf-8"
_METRICS: Final = b"text/plain; version=0.0.4; charset=utf-8"
_METHODS: Final = frozenset({"GET", "HEAD"})
_THREADS: Final = 2
_UNREADY: Final = b"unready=404"
_LIVE: Final = "/healthz"
_READY: Final = "/readyz"
_READY_TO_WRITE: Final = "/readyz/write"
_SCRAPE: Final = "/metrics"
PATHS: Final = frozenset({_LIVE, _READY, _READY_TO_WRITE, _SCRAPE})
"""What is answered even on connections beyond the limit."""


class Probe:
    """An ASGI application that tells what `ask` returns."""

    def __init__(self, template: str, ask: Callable[[], Awaitable[bytes]], content_type: bytes = _TEXT) -> None:
        self.template = template
        self._ask = ask
        self._content_type = content_type

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        """Answer one request."""
        del receive
        if connection["method"] not in _METHODS:
            raise MethodError(connection["method"], "GET, HEAD")
        status = 200
        try:
            body = await self._ask()
        except ImagerepoError as error:
            status = 404 if _UNREADY in connection.get("query_string", b"").split(b"&") else 503
            body = f"{error}\n".encode()
        headers = [
            (b"content-type", self._content_type if status == 200 else _TEXT),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def routes(repository: Repository, state: ServingState) -> list[BaseRoute]:
    """Liveness, readiness, metrics."""
    # Threads of their own: those of the requests may all be waiting for a disk, and that is when probes are wanted.
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="probe")

    def in_thread(ask: Callable[[], bytes]) -> Callable[[], Awaitable[bytes]]:
        return lambda: asyncio.get_running_loop().run_in_executor(threads, ask)

    async def live() -> bytes:
        # On the event loop: threads that are busy make a process slow, not dead.
        return b"ok\n"

    def ready() -> bytes:
        if state.draining():
            raise UnavailableError("draining")
        state.check()
        return b"ok\n"

    def ready_to_write() -> bytes:
        ready()
        if not repository.ingest.accepts():
            raise OutOfSpaceError("no room to ingest (setting storage.reserve); reading goes on")
        return b"ok\n"

    return [
        _route(_LIVE, live),
        _route(_READY, in_thread(ready)),
        _route(_READY_TO_WRITE, in_thread(ready_to_write)),
        _route(_SCRAPE, in_thread(state.render_metrics), _METRICS),
    ]


def _route(template: str, ask: Callable[[], Awaitable[bytes]], content_type: bytes = _TEXT) -> Route:
    return Route(template, Probe(template, ask, content_type))
