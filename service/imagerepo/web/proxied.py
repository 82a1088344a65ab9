"""uvicorn's HTTP connection with what a public server needs before a request is one.

A trusted balancer's PROXY protocol header names the sender; headers that do not end, or are too long,
end the connection, and so does a client that takes nothing of its answer. A connection that has become old ends with
an answer, which says so: its client's next one may be led to a replica that has less to do.

Source: The PROXY protocol, section 2.2 (haproxy.org, proxy-protocol.txt).
"""

import asyncio
import fcntl
import logging
import math
import random
import socket
import struct
import termios
from collections.abc import Iterable
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from imagerepo.errors import BadRequestError
from imagerepo.model.addresses import Networks, within
from imagerepo.model.certificate import Certificate
from imagerepo.proxy_protocol import parse
from imagerepo.settings import Settings, networks
from imagerepo.web.door import Door, Ending, count_ending
from imagerepo.web.exchange import WAY
from imagerepo.web.secured import CERTIFICATE, Secured

log = logging.getLogger(__name__)

_PIPELINED: Final = 32  # requests that may wait on a connection for the one before them
_LINGER: Final = 1.0  # seconds for a refused sender to see why
_HEADERS_LIMIT: Final = 64 << 10  # bytes of a request's line and headers
_LOOKS: Final = 4  # at each connection within the time that its client has
_YOUNGEST: Final = 0.5  # of the age at which connections end: those that came together do not end together
_LOOK_AFTER: Final = 5.0  # seconds between them at the most
_NOT_HTTP: Final = (
    "this is not an HTTP/1.1 request (RFC 9112): TLS has a port of its own (setting tls.listen), and so has DIMSE "
    "(setting dicom_listen)"
)
_TOO_LONG: Final = "the request's line and headers exceed 64 KiB"


class GuardedProtocol(HttpToolsProtocol):
    """One connection; `protocol_class` makes the class that knows the settings."""

    trusted: Networks = ()  # networks of balancers
    patience: float = 60.0  # seconds for a request's headers to come
    send_patience: float = 60.0  # seconds for a client to take something of its answer
    age: float = math.inf  # seconds after which a connection ends with an answer
    door: Door  # of the process
    secured: Secured | None = None  # over TLS; set before the connection is made

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._certificate: Certificate | None = None
        self._proxy_header: bytearray | None = None  # while one is expected
        self._header_size = 0  # bytes
        self._deadline: asyncio.TimerHandle | None = None  # for headers to be complete, while they are not
        self._received = 0  # bytes since then
        self._in_message = False  # a request has begun to come, and its body has not ended
        self._refused = False  # the rest of what is sent is not looked at
        self._left = 0  # bytes that the client had not taken when it was last looked at
        self._left_since = 0.0  # on the loop's clock
        self._old_from = math.inf  # likewise

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Begin."""
        super().connection_made(transport)
        if self.secured is not None:
            # uvloop names it so as well as asyncio does; in the clear there is none.
            shown: bytes | None = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            self._certificate = self.secured.identify(shown)
            self.client = (self.secured.address, 0)
        elif self.client is not None and within(self.client[0], self.trusted):
            self._proxy_header = bytearray()
        self._old_from = self.loop.time() + self.age * random.uniform(_YOUNGEST, 1.0)  # noqa: S311 - spreads load
        if not self.door.enter(self):
            self.app = self.door.narrow(self.app)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
        self.door.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what came."""
        if self._refused:
            return
        if self._proxy_header is not None:
            self._proxy_header += data
            try:
                header = parse(self._proxy_header)
            except BadRequestError as error:
                self.logger.warning("%s", error)
                self.transport.close()
                return
            if header is None:
                return
            data = bytes(self._proxy_header[header.length :])
            self._proxy_header = None
            if header.source_address is not None:
                self.client = (header.source_address, 0)
            if not data:
                return
        if self._deadline is None and not self._in_message and self.is_idle():
            self._await_headers()  # whatever comes now, an empty line too, has to become a request
        if self._deadline is not None:
            # The parser joins the pieces of a header only to hand it over whole: an endless one must not grow in it.
            if self._received > _HEADERS_LIMIT:
                self._refuse(431, _TOO_LONG, Ending.HEADER_LIMIT)
                return
            self._received += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._certificate is not None:
            # Beside what ASGI names, under a key of our own.
            cast("dict[str, object]", self.scope)[CERTIFICATE] = self._certificate
        cast("dict[str, object]", self.scope)[WAY] = self
        self._in_message = True
        self._header_size = 0
        if self._deadline is None:
            self._await_headers()

    def on_url(self, url: bytes) -> None:
        """Take in some of the request's target."""
        self._grow(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take in a header."""
        self._grow(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._stop_waiting()
        if len(self.pipeline) >= _PIPELINED:
            raise _TooManyRequestsError
        if self._header_size <= _HEADERS_LIMIT:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request has come as a whole; it may have been answered, and refused, long before."""
        self._in_message = False
        super().on_message_complete()
        if self.loop.time() >= self._old_from:
            self._part()

    def _part(self) -> None:
        """Have the answer to the request that has come be the last one, and say so (RFC 9112 section 9.6).

        Whoever still sends when the connection is closed might never see the answer; so not while a request comes.
        """
        cycle = self._latest()
        if cycle is not None and cycle.keep_alive and not cycle.response_started:
            cycle.keep_alive = False
            count_ending(Ending.AGE)

    def _grow(self, size: int) -> None:
        self._header_size += size
        if self._header_size > _HEADERS_LIMIT:
            # The parser goes on until it has read what came; nothing of it is kept.
            raise _HeadersTooLargeError

    def is_idle(self) -> bool:
        """Whether no request is being answered."""
        cycle = self._latest()
        return cycle is None or cycle.response_complete

    def _latest(self) -> RequestResponseCycle | None:
        return cast("RequestResponseCycle | None", self.cycle)  # None until the first request

    @property
    def is_full(self) -> bool:
        """Whether what was sent waits for the network (web.exchange.Way)."""
        return self.flow.write_paused

    async def drain(self) -> None:
        """Wait until the network has taken it, or the client has left."""
        await self.flow.drain()

    def is_gone(self) -> bool:
        """Whether the client has left, as far as is known."""
        return self.transport.is_closing()

    def cut(self) -> None:
        """End the connection, so that the client sees that its answer is not whole."""
        cycle = self._latest()
        if cycle is not None:
            cycle.disconnected = True  # nothing is left to be sent by it
        self.transport.close()

    def end(self, reason: Ending) -> None:
        """End the connection at once; what its client has not taken is lost."""
        count_ending(reason)
        self.transport.abort()

    def look(self, now: float) -> None:
        """End the connection if its client has taken nothing for too long; `now` on the loop's clock."""
        left = self.transport.get_write_buffer_size()
        # The kernel takes more only once a good part of its buffer, megabytes, is free: of a slow client, not for
        # minutes. What the client itself has acknowledged shows in the kernel's queue.
        left += _queued(self.transport.get_extra_info("socket")) if left else 0
        if left != self._left or not left:
            self._left, self._left_since = left, now
        elif now - self._left_since >= self.send_patience:
            address = self.client[0] if self.client else ""
            log.warning("http.client_stalled", extra={"address": address, "bytes_left": left})
            self.end(Ending.SEND_TIMEOUT)

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser could not read."""
        del msg
        if self._header_size > _HEADERS_LIMIT:
            self._refuse(431, _TOO_LONG, Ending.HEADER_LIMIT)
        else:
            self._refuse(400, _NOT_HTTP, Ending.MALFORMED)

    def _refuse(self, status: int, text: str, reason: Ending) -> None:
        """Answer a request that is none, and end the connection."""
        cycle = self._latest()
        if cycle is not None and not cycle.response_complete:
            if self.pipeline or cycle.response_started:
                # An answer is on its way: these words would stand amid its body.
                self.end(reason)
                return
            # It was the body of this one that was no HTTP: nobody is to answer it after us.
            cycle.disconnected = True
            cycle.message_event.set()
        count_ending(reason)
        body = f"{text}\n".encode()
        self.transport.write(
            b"%scontent-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s"
            % (STATUS_LINE[status], len(body), body)
        )
        # Closing at once, with data unread, would reset the connection before the answer is seen.
        self._refused = True
        self.loop.call_later(_LINGER, self.transport.close)

    def _await_headers(self) -> None:
        self._received = 0
        self._deadline = self.loop.call_later(self.patience, self._give_up)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        count_ending(Ending.HEADER_TIMEOUT)
        self.transport.close()


class _TooManyRequestsError(Exception):
    """The parser turns it into its own error, which ends the connection."""


class _HeadersTooLargeError(Exception):
    """Likewise; it is answered 431."""


def _queued(connection: socket.socket) -> int:
    """Bytes in the kernel that the peer has not acknowledged (Linux: SIOCOUTQ); elsewhere 0."""
    try:
        return struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    except (OSError, ValueError):  # another system, or closed by now
        return 0


def protocol_class(settings: Settings) -> type[GuardedProtocol]:
    """The class of all connections of a process with these settings."""
    return type(
        "SettledProtocol",
        (GuardedProtocol,),
        {
            "trusted": networks(settings.trusted_proxies),
            "patience": settings.http.idle_timeout,
            "send_patience": settings.http.send_timeout,
            "age": settings.http.connection_age or math.inf,
            "door": Door(settings.http.max_connections),
        },
    )


async def end_stalled(connections: Iterable[asyncio.Protocol], patience: float) -> None:
    """For as long as this runs, end connections whose clients take nothing for `patience` seconds.

    One look at all of them now and then costs less than a timer for each write.
    """
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(min(patience / _LOOKS, _LOOK_AFTER))
        now = loop.time()
        for one in list(connections):
            if isinstance(one, GuardedProtocol):
                one.look(now)
