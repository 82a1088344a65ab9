"""Retrieve values that metadata leave out.

Pixel data are sent from where they lie; other values are found by reading the header again, which is seldom asked for.

Source: PS3.18 sections 10.4.1.1.5 (Bulkdata Resources), 8.6.1.2 (multipart payloads).
"""

import asyncio
import re
from typing import Final

from blake3 import blake3

from imagerepo.dicom.attributes import PIXEL_TAGS
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES, encoding_of
from imagerepo.dicom.inflate import inflate_header
from imagerepo.dicom.walk import walk
from imagerepo.dicomweb.frames import Frames, all_ranges
from imagerepo.dicomweb.negotiate import OCTETS, Form, choose_bulk, pixel_syntax
from imagerepo.dicomweb.parts import Frame, part_type
from imagerepo.dicomweb.wado import Wado
from imagerepo.errors import BadRequestError, NotFoundError
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version
from imagerepo.web.exchange import Exchange
from imagerepo.web.validators import caching, digest_of, etag, not_modified

_TAG: Final = re.compile(r"[0-9A-Fa-f]{8}\Z")


class Bulkdata:
    """Handler of the values of one instance."""

    def __init__(self, wado: Wado, frames: Frames) -> None:
        self._wado = wado
        self._frames = frames

    async def value(self, exchange: Exchange) -> None:
        """The value of the element that the path names."""
        path = exchange.parameter("tag")
        if _TAG.match(path) is None:
            raise BadRequestError(f"bulkdata {path[:40]!r} is not a tag of eight hexadecimal digits")
        tag = int(path, 16)
        version = await self._wado.admitted_version(exchange)
        pixel = version.layout.pixel
        if tag in PIXEL_TAGS and pixel is not None:
            ranges = all_ranges(pixel) if pixel.encapsulated else [[(pixel.offset, pixel.length)]]
            await self._frames.send(exchange, version, ranges, "pixels")
            return
        await self._send(exchange, version, tag)

    async def _send(self, exchange: Exchange, version: Version, tag: int) -> None:
        syntax = pixel_syntax(version.transfer_syntax)
        form, media_type = choose_bulk(exchange.accept, OCTETS, syntax)
        value = await asyncio.to_thread(find_value, exchange.repository.retrieve, version, tag)
        digest = blake3(value).hexdigest(16)
        answer_tag = etag(digest_of(version), f"{tag:08X}", form.value)
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


def find_value(retrieve: Retrieve, version: Version, tag: int) -> bytes:
    """The value of an element at the top level of a data set; blocks.

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
        with memoryview(block) as view:
            found = walk(view, encoding, {encoding.tag(tag): tag}).get(tag)
            if found is not None:
                return bytes(view[found.value : found.end])
    raise NotFoundError(f"the instance has no element ({tag >> 16:04X},{tag & 0xFFFF:04X}) at its top level")
