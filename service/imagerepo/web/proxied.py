"""uvicorn's HTTP connection with what a public server needs before a request is one.

A trusted balancer's PROXY protocol header names the sender; headers that do not end, or are too long,
end the connection.

Source: The PROXY protocol, section 2.2 (haproxy.org, proxy-protocol.txt).
"""

import asyncio
from typing import Any, Final, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from imagerepo.errors import BadRequestError
from imagerepo.model.addresses import Networks, within
from imagerepo.proxy_protocol import parse
from imagerepo.settings import Settings, networks

_PIPELINED: Final = 32  # requests that may wait on a connection for the one before them
_LINGER: Final = 1.0  # seconds for a refused sender to see why
_HEADERS_LIMIT: Final = 64 << 10  # bytes of a request's line and headers


class GuardedProtocol(HttpToolsProtocol):
    """One connection; `protocol_class` makes the class that knows the settings."""

    trusted: Networks = ()  # networks of balancers
    patience: float = 60.0  # seconds for a request's headers to come

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._proxy_header: bytearray | None = None  # while one is expected
        self._header_size = 0  # bytes
        self._deadline: asyncio.TimerHandle | None = None  # for headers to be complete, while they are not
        self._received = 0  # bytes since then
        self._in_message = False  # a request has begun to come, and its body has not ended
        self._refused = False  # the rest of what is sent is not looked at

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn
        """Begin."""
        super().connection_made(transport)
        if self.client is not None and within(self.client[0], self.trusted):
            self._proxy_header = bytearray()
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self._stop_waiting()
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
        if self._deadline is None and not self._in_message and self._is_idle():
            self._await_headers()  # whatever comes now, an empty line too, has to become a request
        if self._deadline is not None:
            # The parser joins the pieces of a header only to hand it over whole: an endless one must not grow in it.
            if self._received > _HEADERS_LIMIT:
                self._refuse_headers()
                return
            self._received += len(data)
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
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

    def _grow(self, size: int) -> None:
        self._header_size += size
        if self._header_size > _HEADERS_LIMIT:
            # The parser goes on until it has read what came; nothing of it is kept.
            raise _HeadersTooLargeError

    def _is_idle(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None until the first request
        return cycle is None or cycle.response_complete

    def _refuse_headers(self) -> None:
        body = b"the request's line and headers exceed 64 KiB\n"
        head = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: text/plain\r\nconnection: close\r\n"
        self.transport.write(b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body))
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
        self.transport.close()


class _TooManyRequestsError(Exception):
    """Likewise."""


class _HeadersTooLargeError(Exception):
    """The parser turns it into its own error, which is answered 400."""


def protocol_class(settings: Settings) -> type[GuardedProtocol]:
    """The connection class for these settings."""
    return type(
        "SettledProtocol",
        (GuardedProtocol,),
        {"trusted": networks(settings.trusted_proxies), "patience": settings.http.idle_timeout},
    )
