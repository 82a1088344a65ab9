"""One HTTP request and its answer, straight on ASGI: no objects that a hot path would make for nothing.

Source: the ASGI specification, HTTP connection scope.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Final, Protocol
from urllib.parse import parse_qsl

from starlette.types import Receive, Send
from starlette.types import Scope as Connection

from imagerepo.errors import BadRequestError
from imagerepo.flows.repository import Repository
from imagerepo.model.arrival import Buffer
from imagerepo.model.caller import Caller
from imagerepo.model.uids import Uid, parse_uid
from imagerepo.web.faults import GoneError, Headers, StalledError

PREFIX: Final = "imagerepo.prefix"
"""In the connection's scope: the path before the routed one, '/institutions/{id}' or ''."""

WAY: Final = "imagerepo.way"
"""In the connection's scope: its Way, where the server is ours."""

_HOST: Final = re.compile(r"[0-9A-Za-z.\-_]{1,255}(?::[0-9]{1,5})?\Z|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?\Z")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_TURN: Final = 4 << 20  # bytes sent without waiting after which others have their turn
_PARAMETERS: Final = 200  # in one query


class Way(Protocol):
    """The connection that an answer goes by. Belongs to the event loop."""

    @property
    def is_full(self) -> bool:
        """Whether what was sent waits for the network."""
        ...

    async def drain(self) -> None:
        """Wait until the network has taken it, or the client has left."""
        ...

    def is_gone(self) -> bool:
        """Whether the client has left, as far as is known; costs nothing."""
        ...

    def cut(self) -> None:
        """End the connection, so that the client sees that its answer is not whole."""
        ...


class Exchange:
    """One request, with its caller known and allowed."""

    __slots__ = (
        "_headers", "_query", "_receive", "_send", "_sent", "_start", "caller", "connection", "repository",
    )  # fmt: skip

    def __init__(
        self, connection: Connection, receive: Receive, send: Send, caller: Caller, repository: Repository
    ) -> None:
        self.connection = connection
        self.caller = caller
        self.repository = repository
        self._receive = receive
        self._send = send
        self._headers: dict[bytes, bytes] | None = None
        self._query: list[tuple[str, str]] | None = None
        self._sent = 0  # bytes since the event loop went on to others
        self._start: tuple[int, Headers] | None = None  # not sent yet

    # What was asked

    @property
    def head(self) -> bool:
        """Whether headers alone are asked for."""
        return self.connection["method"] == "HEAD"

    def parameter(self, name: str) -> str:
        """A part of the path that its template names."""
        return self.connection["path_params"][name]

    def uid(self, name: str, title: str) -> Uid:
        """A UID in the path. Raises BadRequestError, which names `title`."""
        return parse_uid(self.connection["path_params"][name], title)

    def header(self, name: bytes) -> str:
        """A header's value, several joined by commas; '' if absent."""
        if self._headers is None:
            self._headers = collect_headers(self.connection)
        return self._headers.get(name, b"").decode("latin-1")

    @property
    def query(self) -> list[tuple[str, str]]:
        """The query's parameters, in order. Raises BadRequestError."""
        if self._query is None:
            self._query = parse_query(self.connection["query_string"])
        return self._query

    def query_value(self, name: str) -> str | None:
        """A parameter of the query."""
        if not self.connection["query_string"]:
            return None
        return next((value for key, value in self.query if key == name), None)

    @property
    def accept(self) -> str:
        """What the client accepts; the query's `accept` overrides the header (PS3.18 8.3.3.1)."""
        asked = self.query_value("accept")
        return self.header(b"accept") if asked is None else asked

    @property
    def base(self) -> str:
        """The URL below which the caller sees its institution."""
        connection = self.connection
        public = self.repository.settings.public_url
        if public is not None:
            return f"{public}{connection.get(PREFIX, '')}"
        host = self.header(b"host")
        name, port = connection["server"] or ("localhost", None)
        # Some clients leave the port out (dicomweb-client); of our own address we know it.
        own = host in {name, "localhost"} and port not in {None, _DEFAULT_PORTS.get(connection["scheme"])}
        if own or _HOST.match(host) is None:
            host = f"{host if own else name}:{port}" if port else name
        return f"{connection['scheme']}://{host}{connection.get(PREFIX, '')}"

    async def chunks(self) -> AsyncIterator[bytes]:
        """The request's body as it comes.

        Raises:
            StalledError: nothing came for too long.
            GoneError: the client left before the end.
        """
        patience = self.repository.settings.http.idle_timeout
        more = True
        while more:
            try:
                async with asyncio.timeout(patience):
                    message = await self._receive()
            except TimeoutError:
                raise StalledError(
                    f"the body did not go on for {patience:g} seconds (setting http.idle_timeout)"
                ) from None
            if message["type"] == "http.disconnect":
                raise GoneError
            more = message.get("more_body", False)
            body: bytes = message.get("body", b"")
            if body:
                yield body

    # What is answered

    async def start(self, status: int, headers: Headers) -> None:
        """Begin the answer. It leaves with the body's first piece: what fails before that is an error's answer."""
        self._start = status, headers

    async def _begin(self) -> None:
        start, self._start = self._start, None
        if start is not None:
            await self._send({"type": "http.response.start", "status": start[0], "headers": start[1]})

    async def piece(self, body: Buffer) -> None:
        """Send some of the body."""
        if self._start is not None:
            await self._begin()
        self._sent += len(body)
        await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def drained(self) -> None:
        """Wait until the network has taken what was sent, so that no piece is read before it can leave.

        Raises:
            GoneError: the client left.
        """
        if self._start is not None:
            return  # nothing was sent
        way: Way | None = self.connection.get(WAY)
        if way is None:
            await self._send({"type": "http.response.body", "body": b"", "more_body": True})
            return
        if way.is_full:
            await way.drain()
            self._sent = 0
        elif self._sent > _TURN:
            # What is in memory and taken at once never waits: others would, and nobody would see this client leave.
            await asyncio.sleep(0)
            self._sent = 0
        if way.is_gone():
            raise GoneError

    async def end(self, body: Buffer = b"") -> None:
        """Send the last of the body."""
        if self._start is not None:
            await self._begin()
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def answer(self, status: int, content_type: bytes, body: bytes, headers: Headers | None = None) -> None:
        """Send all of a small answer."""
        await self.start(
            status,
            [(b"content-type", content_type), (b"content-length", b"%d" % len(body)), *(headers or ())],
        )
        await self.end(body)


def collect_headers(connection: Connection) -> dict[bytes, bytes]:
    """Headers by name in lower case, several of one name joined by commas."""
    pairs: list[tuple[bytes, bytes]] = connection["headers"]
    headers = dict(pairs)
    if len(headers) != len(pairs):
        headers = {}
        for name, value in pairs:
            headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def parse_query(raw: bytes) -> list[tuple[str, str]]:
    """A query string's parameters, in order, empty values kept.

    Raises:
        BadRequestError: not UTF-8, or too many.
    """
    if not raw:
        return []
    try:
        return parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_PARAMETERS, separator="&"
        )
    except UnicodeDecodeError as error:
        raise BadRequestError("the query is not percent-encoded UTF-8") from error
    except ValueError as error:
        raise BadRequestError(f"the query has more than {_PARAMETERS} parameters") from error
