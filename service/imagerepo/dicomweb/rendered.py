"""Retrieve pictures: of frames, instances, series and studies, and one that stands for each of them.

An instance of several frames is shown by its first one, or by all of them where multipart is asked for; in a series
or study each instance is one picture. What cannot be painted is left out of an answer of several, and refused alone.
An answer shows so many frames of an instance at the most: Number of Frames is whatever a sender wrote.

Source: PS3.18 sections 10.4.1.1.3 (Rendered Resources), 10.4.1.1.4 (Thumbnail Resources), 8.7.4 (Rendered Media
Types).
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final

from blake3 import blake3

from imagerepo.dicomweb.frames import parse_frames
from imagerepo.dicomweb.negotiate import Form
from imagerepo.dicomweb.parts import Frame
from imagerepo.dicomweb.view import choose_many, choose_one, rendered_view, thumbnail_view, unsupported_annotation
from imagerepo.dicomweb.wado import Wado, instance_scope, series_scope, study_scope
from imagerepo.errors import NotAcceptableError, NotFoundError, TooLargeError
from imagerepo.flows.pictures import check_frame, count_frames, has_image
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version
from imagerepo.model.picture import Coding, View
from imagerepo.model.scope import Scope
from imagerepo.web.exchange import Exchange
from imagerepo.web.faults import Headers
from imagerepo.web.first_image import FirstImage
from imagerepo.web.validators import caching, digest_of, etag, not_modified

_TRIED: Final = 3  # instances of which one is to stand for all
_MOST: Final = 10_000  # frames of an instance in one answer
_PAINTING: Final = "1"  # goes up with every change to how pictures look, so that no older one is taken for current
_NO_SNIFFING: Final = (b"x-content-type-options", b"nosniff")

_Shown = tuple[Version, int]
"""A version and one of its frames, from 1."""


class Rendered:
    """Handlers of rendered resources and thumbnails."""

    def __init__(self, wado: Wado, first_image: FirstImage) -> None:
        self._wado = wado
        self._first_image = first_image

    async def frames(self, exchange: Exchange) -> None:
        """The frames that the path lists."""
        numbers = parse_frames(exchange.parameter("frames"))
        version = await self._wado.admitted_version(exchange)
        if len(numbers) > 1:
            _check_number(len(numbers), "the path lists")
            check_frame(version, max(numbers))  # while it can still be said: the answer begins with the first picture
            await self._several(exchange, choose_many(exchange.accept), _each((version, one) for one in numbers))
        else:
            await self._one_or_part(exchange, (version, numbers[0]))

    async def instance(self, exchange: Exchange) -> None:
        """One instance."""
        version = await self._wado.admitted_version(exchange)
        form, coding = choose_one(exchange.accept)
        count = count_frames(version)
        if form is Form.PARTS and count > 1:
            _check_number(count, "the instance has")
            await self._several(exchange, coding, _each((version, number) for number in range(1, count + 1)))
        else:
            await self._one_or_part(exchange, (version, 1))

    async def series(self, exchange: Exchange) -> None:
        """All instances of a series."""
        await self._all(exchange, series_scope(exchange))

    async def study(self, exchange: Exchange) -> None:
        """All instances of a study."""
        await self._all(exchange, study_scope(exchange))

    async def frame_thumbnail(self, exchange: Exchange) -> None:
        """The first of the frames that the path lists, small."""
        number = parse_frames(exchange.parameter("frames"))[0]
        await self._thumbnail(exchange, [(await self._admitted(exchange, instance_scope(exchange)), number)])

    async def instance_thumbnail(self, exchange: Exchange) -> None:
        """One instance, small."""
        version = await self._admitted(exchange, instance_scope(exchange))
        await self._thumbnail(exchange, [(version, _middle(version))])

    async def series_thumbnail(self, exchange: Exchange) -> None:
        """What stands for a series."""
        await self._representative(exchange, series_scope(exchange))

    async def study_thumbnail(self, exchange: Exchange) -> None:
        """What stands for a study."""
        await self._representative(exchange, study_scope(exchange))

    async def _admitted(self, exchange: Exchange, scope: Scope) -> Version:
        # Not by Wado: a thumbnail is no first image that somebody waits for.
        version = exchange.repository.retrieve.version(scope)
        await exchange.repository.audit.read(exchange.caller, version.study_uid)
        return version

    async def _representative(self, exchange: Exchange, scope: Scope) -> None:
        versions = await asyncio.to_thread(_first_page, exchange.repository.retrieve, scope)
        if not versions:
            raise NotFoundError("no such study or series here")
        await exchange.repository.audit.read(exchange.caller, versions[0].study_uid)
        await self._thumbnail(exchange, candidates(versions))

    async def _thumbnail(self, exchange: Exchange, shown: Sequence[_Shown]) -> None:
        """The first of `shown` that can be painted."""
        form, coding = choose_one(exchange.accept)
        if form is Form.PARTS:
            raise NotAcceptableError(f"a thumbnail can be had as {' or '.join(Coding)}; Accept has neither")
        view = thumbnail_view(exchange, coding)
        refused = NotAcceptableError("there is no image in it of which a thumbnail could be made")
        for one in shown:
            try:
                await self._send_one(exchange, one, view)
            except NotAcceptableError as error:
                refused = error
            else:
                return
        raise refused

    async def _one_or_part(self, exchange: Exchange, shown: _Shown) -> None:
        form, coding = choose_one(exchange.accept)
        if form is Form.PARTS:
            await self._several(exchange, coding, _each([shown]))
            return
        await self._send_one(exchange, shown, rendered_view(exchange, coding))
        self._first_image.sent(exchange.caller, shown[0].study_uid)

    async def _send_one(self, exchange: Exchange, shown: _Shown, view: View) -> None:
        version, number = shown
        tag = etag(digest_of(version), _name(number, view))
        if await not_modified(exchange, tag):
            return
        picture = await exchange.repository.pictures.picture(version, number, view)
        headers = [*caching(tag), _NO_SNIFFING, *_warnings(exchange)]
        if exchange.head:
            length = (b"content-length", b"%d" % len(picture))
            await exchange.start(200, [(b"content-type", view.coding.encode()), length, *headers])
            await exchange.end()
            return
        await exchange.answer(200, view.coding.encode(), picture, headers)

    async def _all(self, exchange: Exchange, scope: Scope) -> None:
        coding = choose_many(exchange.accept)
        rendered_view(exchange, coding)  # what is wrong with it is said before anything is looked up
        study = exchange.repository.retrieve.study_of(scope)
        self._first_image.asked(exchange.caller, study)
        await exchange.repository.audit.read(exchange.caller, study)
        await self._several(exchange, coding, _instances(exchange.repository.retrieve, scope))

    async def _several(self, exchange: Exchange, coding: Coding, shown: AsyncIterator[_Shown]) -> None:
        """Pictures as they are made, in multipart/related; their length is not known before."""
        view = rendered_view(exchange, coding)
        pictures = exchange.repository.pictures
        frame = Frame(secrets.token_hex(16), coding)
        part = f"\r\nContent-Type: {coding}\r\n\r\n".encode()
        refused = NotAcceptableError("there is no image in it of which a picture could be made")
        head = frame.opening
        async for version, number in shown:
            try:
                picture = await pictures.picture(version, number, view)
            except NotAcceptableError as error:
                refused = error
                continue
            if head == frame.opening:
                headers = [(b"content-type", frame.content_type), *_warnings(exchange)]
                await exchange.start(200, [*headers, (b"cache-control", b"private, no-store")])
            if exchange.head:
                await exchange.end()
                return
            await exchange.piece(head(part))
            await exchange.piece(picture)
            await exchange.drained()
            if head == frame.opening:
                self._first_image.sent(exchange.caller, version.study_uid)
                head = frame.between
        if head == frame.opening:
            raise refused
        await exchange.end(frame.closing)


def candidates(versions: Sequence[Version]) -> list[_Shown]:
    """What may stand for these: the middle of the first series that has images, then others of it."""
    images = [one for one in versions if has_image(one)]
    if not images:
        return []
    first = [one for one in images if one.series_uid == images[0].series_uid]
    chosen = dict.fromkeys((len(first) // 2, 0, len(first) - 1))
    return [(first[place], _middle(first[place])) for place in chosen][:_TRIED]


def _middle(version: Version) -> int:
    """The frame that stands for an instance: the first ones of a film are often black."""
    return 1 + count_frames(version) // 2


def _name(number: int, view: View) -> str:
    return blake3(f"{_PAINTING} {number} {view}".encode()).hexdigest(8)


def _warnings(exchange: Exchange) -> Headers:
    warning = unsupported_annotation(exchange)
    return [] if warning is None else [(b"warning", warning.encode())]


def _first_page(retrieve: Retrieve, scope: Scope) -> Sequence[Version]:
    return next(retrieve.pages(scope), ())


def _check_number(count: int, what: str) -> None:
    """Raise TooLargeError for more frames than one answer shows."""
    if count > _MOST:
        raise TooLargeError(
            f"{what} {count} frames, and one answer has pictures of up to {_MOST}; ask for some of them at a time, "
            "as in /frames/1,2/rendered"
        )


async def _each(shown: Iterable[_Shown]) -> AsyncIterator[_Shown]:
    for one in shown:
        yield one


async def _instances(retrieve: Retrieve, scope: Scope) -> AsyncIterator[_Shown]:
    pages = retrieve.pages(scope)
    while (page := await asyncio.to_thread(next, pages, None)) is not None:
        for version in page:
            if has_image(version):
                yield version, 1
