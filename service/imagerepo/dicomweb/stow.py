"""Store instances.

Parts are stored in the order they come, while the rest is still on its way. A body that turns out to be malformed
has had its earlier parts stored, and the answer says so: they are durable, and sending them again is harmless.

Source: PS3.18 section 10.5 (Store Transaction).
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from imagerepo.dicomweb.batches import Batches, Part
from imagerepo.dicomweb.negotiate import DICOM, JSON, check_json
from imagerepo.dicomweb.report import Report
from imagerepo.errors import BadRequestError, ImagerepoError, OutOfSpaceError, TooLargeError, UnavailableError
from imagerepo.flows.ingest.receive import Receiver
from imagerepo.model.arrival import Buffer
from imagerepo.model.uids import Uid
from imagerepo.web.exchange import Exchange
from imagerepo.web.faults import ContentCodingError, StalledError, UnsupportedMediaTypeError
from imagerepo.web.media import MediaType, parse_media_type
from imagerepo.web.multipart import Begin, Bytes, End, Event, Parser, boundary_of

_RELATED: Final = "multipart/related"
_PLAIN: Final = frozenset({"", "identity"})
_UNTYPED: Final = frozenset({"", DICOM})


async def store(exchange: Exchange) -> None:
    """Store to any study."""
    await _store(exchange, None)


async def store_to_study(exchange: Exchange) -> None:
    """Store to one study: instances of others are refused."""
    await _store(exchange, exchange.uid("study", "Study Instance UID"))


async def _store(exchange: Exchange, study_uid: Uid | None) -> None:
    check_json(exchange.accept)
    coding = exchange.header(b"content-encoding").strip().lower()
    if coding not in _PLAIN:
        raise ContentCodingError(f"Content-Encoding {coding[:40]!r} is not taken; send the body as it is, identity")
    content_type = parse_media_type(exchange.header(b"content-type"), "Content-Type")
    parts = _parts(exchange, content_type)
    ingest = exchange.repository.ingest
    if not ingest.accepts():
        raise OutOfSpaceError("there is no room to store anything (setting storage.reserve); reading goes on")
    report = Report(exchange.base)
    async with Batches(ingest, exchange.caller, study_uid, report) as batches:
        try:
            await _receive(exchange, parts, batches)
        except (BadRequestError, TooLargeError, StalledError) as error:
            await batches.finish()
            raise type(error)(f"{error}; {report.summary()}") from error
        await batches.finish()
    await exchange.answer(report.status, JSON.encode(), report.encode(), report.headers())


def _parts(exchange: Exchange, content_type: MediaType) -> AsyncGenerator[Event, None]:
    """The events of the body, whatever it is packed in."""
    if content_type.name == _RELATED:
        if content_type.related not in _UNTYPED:
            raise UnsupportedMediaTypeError(
                f'parts of type "{content_type.related[:60]}" are not taken; multipart/related; type="{DICOM}" is'
            )
        return _multipart(exchange, Parser(boundary_of(content_type)))
    if content_type.name == DICOM:
        return _single(exchange)
    raise UnsupportedMediaTypeError(
        f'{content_type.name[:60]} is not taken; multipart/related; type="{DICOM}" and {DICOM} are'
    )


async def _multipart(exchange: Exchange, parser: Parser) -> AsyncGenerator[Event, None]:
    async for chunk in exchange.chunks():
        for event in parser.feed(chunk):
            yield event
    parser.finish()
    if not parser.number:
        raise BadRequestError("the body has no parts")


async def _single(exchange: Exchange) -> AsyncGenerator[Event, None]:
    yield Begin(1, {})
    async for chunk in exchange.chunks():
        yield Bytes(memoryview(chunk))
    yield End()


async def _receive(exchange: Exchange, parts: AsyncGenerator[Event, None], batches: Batches) -> None:
    """Hand each complete part to the batches."""
    most = exchange.repository.settings.http.max_parts
    under_way = _UnderWay(exchange, batches)
    try:
        async with aclosing(parts):
            async for event in parts:
                match event:
                    case Bytes(view):
                        await under_way.write(view)
                    case Begin(number, headers):
                        if number > most:
                            raise TooLargeError(
                                f"part {number} exceeds the limit of {most} parts (setting http.max_parts)"
                            )
                        under_way.begin(number, headers.get("content-type", ""))
                    case End():
                        await under_way.end()
    finally:
        under_way.release()


class _UnderWay:
    """The part that is being received."""

    def __init__(self, exchange: Exchange, batches: Batches) -> None:
        self._ingest = exchange.repository.ingest
        self._batches = batches
        self._number = 0
        self._receiver: Receiver | None = None
        self._error: ImagerepoError | None = None

    def begin(self, number: int, content_type: str) -> None:
        """Begin a part; one of another type is read over."""
        self._number = number
        self._error = None
        if content_type:
            try:
                name = parse_media_type(content_type, "Content-Type").name
            except BadRequestError as error:
                self._error = error
                return
            if name != DICOM:
                self._error = UnsupportedMediaTypeError(f"{name[:60]} is not taken; {DICOM} is")
                return
        self._receiver = self._ingest.receiver()

    async def write(self, view: Buffer) -> None:
        """Append to the part."""
        receiver = self._receiver
        if receiver is None:
            return
        try:
            if receiver.blocks(len(view)):
                await asyncio.to_thread(receiver.write, view)
            else:
                receiver.write(view)
        except (TooLargeError, UnavailableError) as error:
            self._error = error
            self.release()

    async def end(self) -> None:
        """Complete the part."""
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            await self._batches.add(Part(self._number, receiver))
        elif self._error is not None:
            await self._batches.refuse(self._error, self._number)

    def release(self) -> None:
        """Give up what was received of the part."""
        if self._receiver is not None:
            self._receiver.release()
            self._receiver = None
