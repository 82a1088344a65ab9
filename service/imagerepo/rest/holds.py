"""Legal holds: `/study/{uid}/hold` sets, shows and lifts one, `/holds` lists them."""

import asyncio
import json
from typing import Final

from imagerepo.errors import NotFoundError
from imagerepo.model.hold import Hold
from imagerepo.model.uids import Uid
from imagerepo.rest.numbers import Bounds, parsed
from imagerepo.web.exchange import Exchange

_JSON: Final = b"application/json"
_PAGE: Final = 1000


async def show(exchange: Exchange) -> None:
    """A study's hold; 404 if it has none."""
    study = _study(exchange)
    hold = await asyncio.to_thread(exchange.repository.deletion.hold_of, exchange.caller, study)
    if hold is None:
        raise NotFoundError(f"study {study} is not held")
    await exchange.answer(200, _JSON, json.dumps(_fields(hold)).encode())


async def set_hold(exchange: Exchange) -> None:
    """Set it."""
    await asyncio.to_thread(exchange.repository.deletion.hold, exchange.caller, _study(exchange), _reason(exchange))
    await _done(exchange)


async def lift(exchange: Exchange) -> None:
    """Lift it."""
    await asyncio.to_thread(exchange.repository.deletion.release, exchange.caller, _study(exchange), _reason(exchange))
    await _done(exchange)


async def listing(exchange: Exchange) -> None:
    """All holds, at most `limit` (1000) after the study that `after` names."""
    after = exchange.query_value("after") or ""
    limit = parsed("limit", exchange.query_value("limit"), _PAGE, Bounds(1, _PAGE))
    found = await asyncio.to_thread(exchange.repository.deletion.holds, exchange.caller, after, limit)
    await exchange.answer(200, _JSON, json.dumps([_fields(one) for one in found]).encode())


def _study(exchange: Exchange) -> Uid:
    return exchange.uid("uid", "Study Instance UID")


def _reason(exchange: Exchange) -> str:
    return exchange.query_value("reason") or ""


def _fields(hold: Hold) -> dict[str, str]:
    return {
        "study": hold.study_uid,
        "at": hold.at.isoformat(timespec="microseconds"),
        "caller": hold.caller,
        "reason": hold.reason,
    }


async def _done(exchange: Exchange) -> None:
    await exchange.start(204, [])
    await exchange.end()
