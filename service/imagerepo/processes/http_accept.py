"""HTTP connections as they come: in the clear, or after a TLS handshake.

Processes share one listening socket for each. One that has more connections than another leaves the next to it for a
moment: left to the event loops, whichever wakes first takes all that wait.

Handshakes run beside each other, each within its time, and as many as there may be connections: who stalls makes
nobody wait, and who has stalled longest makes room.

Source: The PROXY protocol, section 2.2 (haproxy.org, proxy-protocol.txt); PS3.18 section 6 (secure transport).
"""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

import uvicorn

from imagerepo import proxy_protocol, telemetry
from imagerepo.errors import BadRequestError
from imagerepo.model.addresses import within
from imagerepo.processes.sharing import Crowd
from imagerepo.settings import Settings, networks
from imagerepo.tls.faults import Explained, Fault, explain
from imagerepo.tls.keyring import Keyring
from imagerepo.tls.server import ServerTls
from imagerepo.web.proxied import GuardedProtocol
from imagerepo.web.secured import Secured

log = logging.getLogger(__name__)

_POLITE: Final = 0.005  # seconds left to a worker with fewer connections
_GOODBYE: Final = 5.0  # seconds for the client to answer TLS's goodbye
_AGREED: Final = "agreed"
_IN_THE_CLEAR: Final = b"This port speaks TLS: ask it by https://\n"
# What can be said before there are keys: alerts in the clear (RFC 8446 section 6), or an answer of HTTP.
_LAST_WORDS: Final = {
    Fault.VERSION: b"\x15\x03\x01\x00\x02\x02\x46",  # protocol_version
    Fault.CIPHER: b"\x15\x03\x03\x00\x02\x02\x28",  # handshake_failure
    Fault.PLAIN_BYTES: (
        b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        b"content-length: %d\r\n\r\n%s" % (len(_IN_THE_CLEAR), _IN_THE_CLEAR)
    ),
}


class Accepting:
    """Accepts the connections of one process. Belongs to its event loop."""

    def __init__(self, settings: Settings, server: uvicorn.Server, make: type[GuardedProtocol], crowd: Crowd) -> None:
        self._server = server
        self._make = make
        self._crowd = crowd
        self._proxies = networks(settings.trusted_proxies)
        self._header_timeout = settings.http.idle_timeout
        self._handshake_timeout = settings.tls.handshake_timeout
        self._most = settings.http.max_connections
        self._opening: dict[asyncio.Task[None], None] = {}  # in the order they came

    async def plain(self, listener: socket.socket) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        async for connection, _ in _connections(listener, self._crowd):
            place = _Place(self._crowd)
            protocol = self._protocol(place)
            try:
                await loop.connect_accepted_socket(lambda made=protocol: made, connection)
            except OSError:  # reset before it began
                place.leave()
                connection.close()

    async def secure(self, listener: socket.socket, keyring: Keyring) -> None:
        """Accept until cancelled; handshakes that have begun go on."""
        loop = asyncio.get_running_loop()
        async for connection, peer in _connections(listener, self._crowd):
            place = _Place(self._crowd)
            task = loop.create_task(self._open(connection, peer, place, keyring))
            self._opening[task] = None
            task.add_done_callback(lambda done: self._opening.pop(done, None))
            if len(self._opening) > self._most:
                next(iter(self._opening)).cancel()

    async def _open(self, connection: socket.socket, peer: str, place: "_Place", keyring: Keyring) -> None:
        begun = False
        try:
            address = await self._source_address(connection, peer)
            if address is not None:
                begun = await self._shake_hands(connection, address, place, keyring)
        finally:
            if not begun:
                place.leave()
                connection.close()

    async def _shake_hands(self, connection: socket.socket, address: str, place: "_Place", keyring: Keyring) -> bool:
        current = keyring.current
        if current is None:
            _refused(
                address, Explained(Fault.UNREADY, "the server's own certificate cannot be used; see tls.not_loaded")
            )
            return False
        protocol = self._protocol(place)
        protocol.secured = Secured(address, current.identify)
        # The event loop closes a connection whose handshake fails without the alert that tells the client why.
        with connection.dup() as spare:
            return await self._agree(connection, protocol, address, current, spare)

    async def _agree(
        self,
        connection: socket.socket,
        protocol: GuardedProtocol,
        address: str,
        current: ServerTls,
        spare: socket.socket,
    ) -> bool:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=current.http,
                ssl_handshake_timeout=self._handshake_timeout,
                ssl_shutdown_timeout=_GOODBYE,
            )
        except OSError as error:
            explained = explain(error)
            _refused(address, explained)
            with suppress(OSError):  # who has gone needs no words
                spare.send(_LAST_WORDS.get(explained.fault, b""))
            return False
        telemetry.tls_handshakes.labels("http", _AGREED).inc()
        return True

    async def _source_address(self, connection: socket.socket, peer: str) -> str | None:
        """The sender's address: the peer's, or the one that a trusted balancer names; None: it does not."""
        if not within(peer, self._proxies):
            return peer
        loop = asyncio.get_running_loop()
        header = None
        read = bytearray()
        with suppress(OSError):  # balancers open connections to see whether they can
            async with asyncio.timeout(self._header_timeout):
                while header is None:
                    try:
                        # No byte beyond the header: what follows is TLS's.
                        more = await loop.sock_recv(connection, proxy_protocol.missing(read))
                        read += more
                        header = proxy_protocol.parse(read)
                    except BadRequestError as error:
                        log.warning("http.proxy.refused", extra={"address": peer, "reason": str(error)})
                        return None
                    if not more:
                        return None
        return None if header is None else header.source_address or peer

    def _protocol(self, place: "_Place") -> GuardedProtocol:
        """A connection that gives its place back when it ends."""
        made = self._make(config=self._server.config, server_state=self._server.server_state, app_state={})
        lost = made.connection_lost

        def connection_lost(exc: Exception | None) -> None:
            place.leave()
            lost(exc)

        made.connection_lost = connection_lost  # pyright: ignore[reportAttributeAccessIssue] - one instance's
        return made


class _Place:
    """A connection in the crowd, which leaves it once."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._left = False
        crowd.enter()

    def leave(self) -> None:
        if not self._left:
            self._left = True
            self._crowd.leave()


async def _connections(listener: socket.socket, crowd: Crowd) -> AsyncGenerator[tuple[socket.socket, str]]:
    """Connections with the addresses of their peers, as they come."""
    loop = asyncio.get_running_loop()
    listener.setblocking(False)
    readable = asyncio.Event()
    loop.add_reader(listener, readable.set)
    try:
        while True:
            await readable.wait()
            if crowd.ahead():
                await asyncio.sleep(_POLITE)
            try:
                connection, peer = listener.accept()
            except BlockingIOError:
                readable.clear()
                continue
            except OSError:  # out of descriptors, or the peer has gone: the next may do
                await asyncio.sleep(_POLITE)
                continue
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            yield connection, str(peer[0])
    finally:
        loop.remove_reader(listener)


def _refused(address: str, explained: Explained) -> None:
    telemetry.tls_handshakes.labels("http", explained.fault).inc()
    log.warning(
        "http.tls.refused",
        extra={"address": address, "fault": str(explained.fault), "reason": explained.text},
    )
