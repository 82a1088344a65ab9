"""How many connections a process has: as many as the setting allows, and a few more on which probes alone are served.

A process that is full must go on to say that it is alive, or it is ended for having much to do.
"""

from enum import StrEnum
from typing import Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as Connection

from imagerepo import telemetry
from imagerepo.errors import UnavailableError
from imagerepo.web.faults import Headers, fault_of, send_fault
from imagerepo.web.probes import PATHS

RESERVED: Final = 64
"""Connections beyond the limit."""
_CLOSE: Final = (b"connection", b"close")


class Ending(StrEnum):
    """Why the server ended a connection."""

    SEND_TIMEOUT = "send_timeout"  # its client took nothing of an answer
    HEADER_TIMEOUT = "header_timeout"  # a request's headers did not come
    HEADER_LIMIT = "header_limit"  # they were too long
    MALFORMED = "malformed"  # what came was not HTTP
    CONNECTION_LIMIT = "connection_limit"  # there were too many
    AGE = "age"  # it was old, and its client may be better served elsewhere; it ended with an answer


def count_ending(reason: Ending) -> None:
    """Enter the end of a connection into the metrics."""
    telemetry.http_connections_ended.labels(reason).inc()


class Guest(Protocol):
    """A connection, as far as the door knows it."""

    def is_idle(self) -> bool:
        """Whether no request of its is being answered."""
        ...

    def end(self, reason: Ending) -> None:
        """Let go of it at once."""
        ...


class Door:
    """Counts the connections of one process; belongs to its event loop."""

    def __init__(self, limit: int) -> None:
        """Begin without any; `limit` is how many are served everything."""
        self._limit = limit
        self._within: set[Guest] = set()
        self._beyond: dict[Guest, None] = {}  # in the order they came

    def enter(self, guest: Guest) -> bool:
        """Take in a connection; whether it is within the limit.

        Beyond it the one that has waited longest without asking makes room: connections that ask for nothing must
        not keep out those that do.
        """
        if len(self._within) < self._limit:
            self._within.add(guest)
            return True
        if len(self._beyond) >= RESERVED:
            longest = next((one for one in self._beyond if one.is_idle()), guest)
            self._beyond.pop(longest, None)
            longest.end(Ending.CONNECTION_LIMIT)
            if longest is guest:
                return False
        self._beyond[guest] = None
        return False

    def leave(self, guest: Guest) -> None:
        """A connection has ended."""
        self._within.discard(guest)
        self._beyond.pop(guest, None)

    def narrow(self, app: ASGIApp) -> ASGIApp:
        """What is served on a connection beyond the limit: probes, and one request."""

        async def probes_only(connection: Connection, receive: Receive, send: Send) -> None:
            closing = _closing(send)
            if connection["path"] in PATHS:
                await app(connection, receive, closing)
                return
            count_ending(Ending.CONNECTION_LIMIT)
            error = UnavailableError(
                f"this process has the {self._limit} connections it may have (setting http.max_connections); "
                "try again in a moment"
            )
            await send_fault(closing, fault_of(error))

        return probes_only


def _closing(send: Send) -> Send:
    """`send` for an answer after which the connection ends."""

    async def closing(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers: Headers = message["headers"]
            message = {**message, "headers": [*headers, _CLOSE]}
        await send(message)

    return closing
