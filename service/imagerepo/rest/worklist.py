"""`/worklist`: the items that modalities are answered with, put in by who plans them; and what modalities reported.

Bodies are JSON: DICOM JSON, or keywords with plain values (dicom/written.py).
"""

import asyncio
import json
import re
from typing import Final

from imagerepo.dicom import header
from imagerepo.dicom.written import parse
from imagerepo.errors import BadRequestError, TooLargeError
from imagerepo.model.header import Attribute, Header
from imagerepo.model.worklist import Bounds
from imagerepo.web.exchange import Exchange
from imagerepo.web.faults import Headers, UnsupportedMediaTypeError
from imagerepo.web.media import parse_media_type

_BODY_LIMIT: Final = 1 << 20  # bytes
_TYPES: Final = frozenset({"application/json", "application/dicom+json"})
_JSON: Final = b"application/dicom+json"
_MOST: Final = 1000  # items of one listing
_PARAMETERS: Final = frozenset({"from", "to", "patient"})
_SOP_INSTANCE_UID: Final = "00080018"
_DAY: Final = re.compile(r"[0-9]{8}\Z")


async def put(exchange: Exchange) -> None:
    """Add or change an item: 201 or 200, and the item with what was completed."""
    content = parse(await _body(exchange))
    worklist = exchange.repository.worklist
    name = exchange.parameter("id")
    step, new = await asyncio.to_thread(worklist.put, exchange.caller, name, content)
    headers: Headers = [(b"location", f"{exchange.base}/worklist/{name}".encode())] if new else []
    await exchange.answer(201 if new else 200, _JSON, header.document(step.content).encode(), headers)


async def show(exchange: Exchange) -> None:
    """An item."""
    worklist = exchange.repository.worklist
    step = await asyncio.to_thread(worklist.scheduled, exchange.caller, exchange.parameter("id"))
    await exchange.answer(200, _JSON, header.document(step.content).encode())


async def remove(exchange: Exchange) -> None:
    """Remove an item."""
    await asyncio.to_thread(exchange.repository.worklist.remove, exchange.caller, exchange.parameter("id"))
    await exchange.start(204, [])
    await exchange.end()


async def listing(exchange: Exchange) -> None:
    """Items that are scheduled or started, by day and time: {id: item}."""
    bounds = _bounds(exchange)
    items = await asyncio.to_thread(_listed, exchange, bounds)
    body = ",".join(f"{json.dumps(name)}:{header.document(content)}" for name, content in items)
    await exchange.answer(200, b"application/json", f"{{{body}}}".encode())


async def performed(exchange: Exchange) -> None:
    """What modalities reported of a study: performed procedure steps, the oldest first."""
    study = exchange.uid("uid", "Study Instance UID")
    steps = await asyncio.to_thread(exchange.repository.worklist.performed_of, exchange.caller, study)
    body = ",".join(
        header.document({_SOP_INSTANCE_UID: Attribute("UI", (step.uid,)), **step.content}) for step in steps
    )
    await exchange.answer(200, _JSON, f"[{body}]".encode())


def _listed(exchange: Exchange, bounds: Bounds) -> list[tuple[str, Header]]:
    items: list[tuple[str, Header]] = []
    for page in exchange.repository.worklist.pages(exchange.caller.institution, bounds):
        items += [(step.id, step.content) for step in page]
        if len(items) > _MOST:
            raise TooLargeError(f"more than {_MOST} items; narrow them by ?from=YYYYMMDD&to=YYYYMMDD or ?patient=ID")
    return items


def _bounds(exchange: Exchange) -> Bounds:
    given = dict(exchange.query)
    unknown = given.keys() - _PARAMETERS
    if unknown:
        raise BadRequestError(f"no parameter {min(unknown)!r} here; {', '.join(sorted(_PARAMETERS))} are")
    for name in ("from", "to"):
        if given.get(name) and _DAY.match(given[name]) is None:
            raise BadRequestError(f"{name}={given[name][:20]!r} is not a day, YYYYMMDD")
    return Bounds(given.get("from", ""), given.get("to", ""), given.get("patient", ""))


async def _body(exchange: Exchange) -> bytes:
    content_type = parse_media_type(exchange.header(b"content-type"), "Content-Type").name
    if content_type not in _TYPES:
        raise UnsupportedMediaTypeError(f"Content-Type {content_type!r}: an item is {' or '.join(sorted(_TYPES))}")
    body = bytearray()
    async for chunk in exchange.chunks():
        body += chunk
        if len(body) > _BODY_LIMIT:
            raise TooLargeError(f"an item of more than {_BODY_LIMIT} bytes")
    return bytes(body)
