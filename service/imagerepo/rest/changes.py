"""`/changes`: what changed in the caller's institution, in order, page by page; waits for more if asked to."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imagerepo.errors import BadRequestError
from imagerepo.flows.changes import ALL_KINDS, Changes, News, Told, as_fields
from imagerepo.model.change import ChangeKind
from imagerepo.rest.numbers import Bounds, parsed
from imagerepo.web.exchange import WAY, Exchange, Way
from imagerepo.web.faults import GoneError

_JSON: Final = b"application/json"
_PARAMETERS: Final = frozenset({"since", "limit", "kind", "wait"})
_PAGE: Final = 100  # changes, unless the caller says otherwise
_MOST: Final = 1000
_LONGEST_WAIT: Final = 60  # seconds
_TURN: Final = 1.0  # seconds after which it is seen that the client has left, or that we end


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked for."""

    since: str | None
    limit: int
    kinds: frozenset[ChangeKind]


class ChangesPage:
    """One process's."""

    def __init__(self, changes: Changes, news: News, ending: Callable[[], bool]) -> None:
        """`ending`: whether the server is on its way out, and nobody is to be kept waiting."""
        self._changes = changes
        self._news = news
        self._ending = ending

    async def page(self, exchange: Exchange) -> None:
        """A page: {changes, next, more}."""
        given = _given(exchange)
        limit = parsed("limit", given.get("limit"), _PAGE, Bounds(1, _MOST))
        until = asyncio.get_running_loop().time() + parsed("wait", given.get("wait"), 0, Bounds(0, _LONGEST_WAIT))
        kinds = _kinds(given.get("kind"))
        told = await self._told(exchange, _Asked(given.get("since"), limit, kinds), until)
        body = {"changes": [as_fields(one) for one in told.changes], "next": told.next, "more": told.more}
        await exchange.answer(200, _JSON, json.dumps(body).encode(), [(b"cache-control", b"no-store")])

    async def _told(self, exchange: Exchange, asked: _Asked, until: float) -> Told:
        institution = exchange.caller.institution
        since, stamp = asked.since, ""
        while True:
            told = await asyncio.to_thread(self._changes.page, institution, since, asked.limit, asked.kinds)
            left = until - asyncio.get_running_loop().time()
            if told.changes or left <= 0:
                return told
            since = told.next
            if told.more:
                continue
            if self._ending():
                # Not at once: a client that asks again and again would do so all the faster.
                await asyncio.sleep(min(left, _TURN))
                return told
            seen, stamp = stamp, await self._awaited(exchange, stamp, until)
            if stamp == seen:
                return told

    async def _awaited(self, exchange: Exchange, stamp: str, until: float) -> str:
        """Wait for another stamp than that one; the same, if none came in time."""
        institution = exchange.caller.institution
        while (left := until - asyncio.get_running_loop().time()) > 0 and not self._ending():
            try:
                async with asyncio.timeout(min(left, _TURN)):
                    return await self._news.after(institution, stamp)
            except TimeoutError:
                way: Way | None = exchange.connection.get(WAY)
                if way is not None and way.is_gone():
                    raise GoneError from None
        return stamp


def _given(exchange: Exchange) -> dict[str, str]:
    given = dict(exchange.query)
    unknown = given.keys() - _PARAMETERS
    if unknown:
        raise BadRequestError(f"no parameter {min(unknown)!r} here; {', '.join(sorted(_PARAMETERS))} are")
    return given


def _kinds(text: str | None) -> frozenset[ChangeKind]:
    if text is None:
        return ALL_KINDS
    try:
        return frozenset(map(ChangeKind, text.split(",")))
    except ValueError:
        names = ", ".join(kind.value for kind in ChangeKind)
        raise BadRequestError(f"kind {text[:40]!r} is not of these, joined by commas: {names}") from None
