"""Retrieve frames, each as the bytes it is stored as.

Source: PS3.18 sections 10.4.1.1.6 (Pixel Data Resources), 8.7.3.3.1 and 8.7.3.3.2 (uncompressed and compressed).
"""

import asyncio
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from blake3 import blake3

from imagerepo.dicom import frames as dicom_frames
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES
from imagerepo.dicomweb.negotiate import Form, choose_bulk, pixel_syntax, pixel_type
from imagerepo.dicomweb.parts import Frame, overhead, part_type, total
from imagerepo.dicomweb.wado import Wado
from imagerepo.errors import BadRequestError, NotAcceptableError, NotFoundError
from imagerepo.flows.batches import Extent, Part
from imagerepo.model.instance import Layout, PixelLayout, Version
from imagerepo.web.exchange import Exchange
from imagerepo.web.first_image import FirstImage
from imagerepo.web.streaming import send
from imagerepo.web.validators import caching, digest_of, etag, not_modified

_LIST: Final = re.compile(r"[1-9][0-9]{0,8}(?:,[1-9][0-9]{0,8})*\Z")
_FEW: Final = 16  # frames that are looked up one by one
_UNLIMITED: Final = 1 << 40

Ranges = list[tuple[int, int]]
"""(offset, length) in bytes of the Part 10 file."""


class Frames:
    """Handlers of frames and pixel data."""

    def __init__(self, wado: Wado, first_image: FirstImage) -> None:
        self._wado = wado
        self._first_image = first_image

    async def frames(self, exchange: Exchange) -> None:
        """The frames that the path lists."""
        numbers = parse_frames(exchange.parameter("frames"))
        version = await self._wado.admitted_version(exchange)
        check_addressable(version)
        if len(numbers) > _FEW:
            ranges = await asyncio.to_thread(ranges_of, version.layout, numbers)
        else:
            ranges = ranges_of(version.layout, numbers)
        await self.send(exchange, version, ranges, f"frames-{exchange.parameter('frames')}")

    async def send(self, exchange: Exchange, version: Version, ranges: list[Ranges], what: str) -> None:
        """Send pixel data, a part an entry of `ranges`; alone if there is but one and that is preferred."""
        pixel = version.layout.pixel
        assert pixel is not None
        syntax = pixel_syntax(version.transfer_syntax)
        native = pixel_type(version.transfer_syntax, encapsulated=pixel.encapsulated)
        form, media_type = choose_bulk(exchange.accept, native, syntax)
        if len(ranges) > 1:
            form = Form.PARTS
        digest = digest_of(version)
        tag = etag(digest, blake3(what.encode()).hexdigest(8), form.value, media_type.replace("/", "."))
        if await not_modified(exchange, tag):
            return
        length = sum(size for one in ranges for _, size in one)
        if form is Form.SINGLE:
            headers = [(b"content-type", f"{media_type}; transfer-syntax={syntax}".encode())]
            opening = between = closing = b""
        else:
            frame, part = Frame(digest, media_type), part_type(media_type, syntax)
            headers = [(b"content-type", frame.content_type)]
            opening, between, closing = frame.opening(part), frame.between(part), frame.closing
            length = total(length + len(ranges) * overhead(part))
        await exchange.start(200, [*headers, (b"content-length", b"%d" % length), *caching(tag)])
        if not exchange.head:
            await send(exchange, _parts(version, ranges, opening, between))
            self._first_image.sent(exchange.caller, version.study_uid)
        await exchange.end(closing)


def _parts(version: Version, ranges: list[Ranges], opening: bytes, between: bytes) -> Iterator[Part]:
    head = opening
    for one in ranges:
        yield head
        for offset, size in one:
            yield Extent(version, offset, size)
        head = between


def check_addressable(version: Version) -> None:
    """Raise NotAcceptableError if pixel data are no range of what is stored."""
    if version.transfer_syntax in DEFLATED_SYNTAXES:
        raise NotAcceptableError(
            f"the instance is stored deflated (transfer syntax {version.transfer_syntax}), so that its pixel data "
            "cannot be had without the rest; retrieve the instance"
        )


def parse_frames(text: str) -> list[int]:
    """A frame list. Raises BadRequestError."""
    if _LIST.match(text) is None:
        raise BadRequestError(f"frames {text[:40]!r} are not numbers from 1, separated by commas (PS3.18 10.4.1.1.6)")
    return [int(number) for number in text.split(",")]


def ranges_of(layout: Layout, numbers: list[int]) -> list[Ranges]:
    """Where frames lie, see dicom.frames.frame_ranges; one walk through the table for many frames."""
    pixel = layout.pixel
    if pixel is None:
        raise NotFoundError("the instance has no pixel data whose frames can be addressed")
    held = count_frames(pixel)
    for number in (min(numbers), max(numbers)):
        dicom_frames.frame_ranges(layout, held, number)
    if len(numbers) <= _FEW or not pixel.encapsulated:
        return [dicom_frames.frame_ranges(layout, held, number) for number in numbers]
    everything = all_ranges(pixel)
    return [everything[number - 1] for number in numbers]


def all_ranges(pixel: PixelLayout) -> list[Ranges]:
    """All frames of encapsulated pixel data; a single one that is everything if they cannot be told apart."""
    counts, fragments, _ = dicom_frames.unpack(pixel.frames)
    ends = list(accumulate(counts))
    return [
        [(pixel.offset + offset, length) for offset, length in fragments[end - count : end]]
        for count, end in zip(counts, ends, strict=True)
    ]


def count_frames(pixel: PixelLayout) -> int:
    """Frames that pixel data hold, as far as they say themselves."""
    if pixel.encapsulated:
        return _UNLIMITED  # the table knows
    # A value of odd length has a byte more; frames of one byte would be counted one too many.
    return max(1, pixel.length // pixel.frame_length) if pixel.frame_length else 1
