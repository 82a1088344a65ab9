"""The outermost layer: the institution in the URL, metrics, and errors made answers."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Any, Final

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from imagerepo import telemetry
from imagerepo.errors import DamagedError, ImagerepoError, NotFoundError, UnavailableError
from imagerepo.web.endpoint import split_institution
from imagerepo.web.exchange import PREFIX, WAY, Way
from imagerepo.web.faults import GoneError, fault_of, send_fault

log = logging.getLogger(__name__)

OTHER: Final = "other"
"""The label of what no route or method of ours is."""
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
_PATH_LOGGED: Final = 200  # characters
_GONE: Final = 499  # in metrics: the client left before an answer began


class Edge:
    """Wraps the routed application."""

    def __init__(self, routed: ASGIApp) -> None:
        self._routed = routed
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._durations: dict[str, Histogram] = {}

    async def __call__(self, connection: Connection, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if connection["type"] != "http":
            return
        started = time.perf_counter()
        telemetry.http_requests_in_flight.inc()
        watched = _Watched(send)
        prefix, path = split_institution(connection["path"])
        connection[PREFIX] = prefix
        connection["path"] = path
        try:
            await self._routed(connection, receive, watched)
        except GoneError:
            watched.status = watched.status or _GONE
        except asyncio.CancelledError:
            if watched.status:
                raise
            error = UnavailableError("the server is ending, and this took longer than drain_grace; send it again")
            await send_fault(watched, fault_of(error))
        except Exception as error:
            if not watched.status:
                await send_fault(watched, fault_of(error))
            elif not _cut(connection, error):
                raise  # the headers have left: only a broken connection can tell
        finally:
            telemetry.http_requests_in_flight.dec()
            self._count(connection, watched.status or 500, time.perf_counter() - started)

    def _count(self, connection: Connection, status: int, seconds: float) -> None:
        route: str = getattr(connection.get("endpoint"), "template", OTHER)
        method = connection["method"] if connection["method"] in _METHODS else OTHER
        # Looking up a child by its labels takes longer than counting.
        counter = self._counters.get((route, method, status))
        if counter is None:
            counter = telemetry.http_requests.labels(route, method, status)
            self._counters[route, method, status] = counter
        counter.inc()
        duration = self._durations.get(route)
        if duration is None:
            duration = self._durations[route] = telemetry.http_request_duration.labels(route)
        duration.observe(seconds)


def _cut(connection: Connection, error: Exception) -> bool:
    """End an answer that cannot go on, if that is no defect of ours and can be done; the log has a line of it."""
    way: Way | None = connection.get(WAY)
    if way is None or not isinstance(error, ImagerepoError):
        return False
    level = logging.ERROR if isinstance(error, DamagedError) else logging.WARNING
    log.log(level, "http.cut", extra={"path": connection["path"][:_PATH_LOGGED], "reason": str(error)})
    way.cut()
    return True


class _Watched:
    """`send`, with the status it sent."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        return self._send(message)


async def not_found(connection: Connection, receive: Receive, send: Send) -> Any:  # noqa: ANN401 - an ASGI application
    """Answer for paths without a route."""
    del receive, send
    raise NotFoundError(f"nothing is at {connection['path'][:200]}; / tells what there is")
