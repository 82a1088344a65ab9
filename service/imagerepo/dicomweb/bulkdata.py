"""Retrieve values that metadata leave out.

Pixel data are sent from where they lie; other values are found by reading the header again, which is seldom asked for.

Source: PS3.18 sections 10.4.1.1.5 (Bulkdata Resources), 8.6.1.2 (multipart payloads).
"""

import asyncio

from blake3 import blake3

from imagerepo.dicom.attributes import PIXEL_TAGS
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES, encoding_of
from imagerepo.dicom.inflate import inflate_header
from imagerepo.dicomweb.frames import Frames, all_ranges
from imagerepo.dicomweb.locate import Place, find_value, parse_place
from imagerepo.dicomweb.negotiate import OCTETS, Form, choose_bulk, pixel_syntax
from imagerepo.dicomweb.parts import Frame, part_type
from imagerepo.dicomweb.wado import Wado
from imagerepo.errors import NotFoundError
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version
from imagerepo.web.exchange import Exchange
from imagerepo.web.validators import caching, digest_of, etag, not_modified


class Bulkdata:
    """Handler of the values of one instance."""

    def __init__(self, wado: Wado, frames: Frames) -> None:
        self._wado = wado
        self._frames = frames

    async def value(self, exchange: Exchange) -> None:
        """The value of the element that the path names."""
        place = parse_place(exchange.parameter("tag"))
        version = await self._wado.admitted_version(exchange)
        pixel = version.layout.pixel
        if place.tag in PIXEL_TAGS and not place.items and pixel is not None:
            ranges = all_ranges(pixel) if pixel.encapsulated else [[(pixel.offset, pixel.length)]]
            await self._frames.send(exchange, version, ranges, "pixels")
            return
        await self._send(exchange, version, place)

    async def _send(self, exchange: Exchange, version: Version, place: Place) -> None:
        syntax = pixel_syntax(version.transfer_syntax)
        form, media_type = choose_bulk(exchange.accept, OCTETS, syntax)
        value = await asyncio.to_thread(read_value, exchange.repository.retrieve, version, place)
        digest = blake3(value).hexdigest(16)
        answer_tag = etag(digest_of(version), digest, form.value)
        if await not_modified(exchange, answer_tag):
            return
        opening = closing = b""
        content_type = OCTETS.encode()
        if form is Form.PARTS:
            frame = Frame(digest, media_type)
            opening, closing = frame.opening(part_type(media_type, syntax)), frame.closing
            content_type = frame.content_type
        length = len(opening) + len(value) + len(closing)
        await exchange.start(
            200, [(b"content-type", content_type), (b"content-length", b"%d" % length), *caching(answer_tag)]
        )
        for piece in () if exchange.head else (opening, value):
            await exchange.piece(piece)
        await exchange.end(closing)


def read_value(retrieve: Retrieve, version: Version, place: Place) -> bytes:
    """A value of a data set other than its pixel data; blocks.

    Raises:
        NotFoundError: there is none.
    """
    layout = version.layout
    start = layout.data_set_offset
    header = retrieve.read(version, start, layout.header_length - start)
    trailer = retrieve.read(version, layout.trailer_offset, version.size - layout.trailer_offset)
    if version.transfer_syntax in DEFLATED_SYNTAXES:
        inflated = inflate_header(header)
        header, trailer = inflated.header, inflated.trailer
    encoding = encoding_of(version.transfer_syntax)
    for block in (header, trailer):
        value = find_value(memoryview(block), encoding, place)
        if value is not None:
            return value
    raise NotFoundError(f"the instance has no element ({place.tag >> 16:04X},{place.tag & 0xFFFF:04X})")
