"""Retrieve values that metadata leave out.

Pixel data and long values are sent from where they lie; other values are found by reading the header again, which is
seldom asked for.

Source: PS3.18 sections 10.4.1.1.5 (Bulkdata Resources), 8.6.1.2 (multipart payloads).
"""

import asyncio

from blake3 import blake3

from imagerepo.dicom.attributes import PIXEL_TAGS
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES, encoding_of
from imagerepo.dicom.inflate import inflate_header
from imagerepo.dicomweb.frames import Frames, all_ranges, check_addressable
from imagerepo.dicomweb.locate import Place, find_value, parse_place
from imagerepo.dicomweb.negotiate import OCTETS, Form, choose_bulk, pixel_syntax
from imagerepo.dicomweb.parts import Frame, part_type
from imagerepo.dicomweb.wado import Wado
from imagerepo.errors import NotFoundError
from imagerepo.flows.batches import Extent
from imagerepo.flows.metadata import SLICE, header_size
from imagerepo.flows.outline import HEADER_LIMIT, Element, blocks, elements, too_large
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version
from imagerepo.model.uids import Uid
from imagerepo.web.exchange import Exchange
from imagerepo.web.streaming import send
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
        if place.tag in PIXEL_TAGS and not place.items:
            check_addressable(version)
        if place.tag in PIXEL_TAGS and not place.items and pixel is not None:
            ranges = [[(pixel.offset, pixel.length)]]
            if pixel.encapsulated:
                ranges = await asyncio.to_thread(all_ranges, pixel)
            await self._frames.send(exchange, version, ranges, "pixels")
            return
        if not _walked(version):
            await self._send(exchange, version, place)
            return
        element = await asyncio.to_thread(find_element, exchange.repository.retrieve, version, place.tag)
        if element.plain and not place.items:
            await self._stream(exchange, version, element)
        else:
            await self._send(exchange, version, place)

    async def _stream(self, exchange: Exchange, version: Version, element: Element) -> None:
        """Send a value from where it lies."""
        syntax = pixel_syntax(version.transfer_syntax)
        form, media_type = choose_bulk(exchange.accept, OCTETS, syntax)
        digest = digest_of(version)
        answer_tag = etag(digest, f"{element.tag:08X}", form.value)
        if await not_modified(exchange, answer_tag):
            return
        content_type, opening, closing = _wrapping(form, media_type, syntax, digest)
        size = element.end - element.value
        length = b"%d" % (len(opening) + size + len(closing))
        await exchange.start(200, [(b"content-type", content_type), (b"content-length", length), *caching(answer_tag)])
        if not exchange.head:
            await send(exchange, (opening, Extent(version, element.value, size), closing))
        await exchange.end()

    async def _send(self, exchange: Exchange, version: Version, place: Place) -> None:
        syntax = pixel_syntax(version.transfer_syntax)
        form, media_type = choose_bulk(exchange.accept, OCTETS, syntax)
        value = await asyncio.to_thread(read_value, exchange.repository.retrieve, version, place)
        digest = blake3(value).hexdigest(16)
        answer_tag = etag(digest_of(version), digest, form.value)
        if await not_modified(exchange, answer_tag):
            return
        content_type, opening, closing = _wrapping(form, media_type, syntax, digest)
        length = len(opening) + len(value) + len(closing)
        await exchange.start(
            200, [(b"content-type", content_type), (b"content-length", b"%d" % length), *caching(answer_tag)]
        )
        for piece in () if exchange.head else (opening, value):
            await exchange.piece(piece)
        await exchange.end(closing)


def _wrapping(form: Form, media_type: str, syntax: Uid, digest: str) -> tuple[bytes, bytes, bytes]:
    """Content-Type, and what stands before and after the value."""
    if form is not Form.PARTS:
        return OCTETS.encode(), b"", b""
    frame = Frame(digest, media_type)
    return frame.content_type, frame.opening(part_type(media_type, syntax)), frame.closing


def _walked(version: Version) -> bool:
    """Whether elements are found where they lie, instead of in all that there is beside pixel data."""
    return header_size(version) > SLICE and version.transfer_syntax not in DEFLATED_SYNTAXES


def find_element(retrieve: Retrieve, version: Version, tag: int) -> Element:
    """An element of the top level; blocks.

    Raises:
        NotFoundError: there is none.
        NotAcceptableError: it cannot be found by holding little.
    """
    for start, end in blocks(version):
        for element in elements(retrieve, version, start, end):
            if element.tag == tag:
                return element
    raise _missing(tag)


def _missing(tag: int) -> NotFoundError:
    return NotFoundError(f"the instance has no element ({tag >> 16:04X},{tag & 0xFFFF:04X})")


def read_value(retrieve: Retrieve, version: Version, place: Place) -> bytes:
    """A value of a data set other than its pixel data; blocks.

    Raises:
        NotFoundError: there is none.
        NotAcceptableError: what holds it cannot be held.
    """
    encoding = encoding_of(version.transfer_syntax)
    if _walked(version):
        element = find_element(retrieve, version, place.tag)
        if element.end - element.at > HEADER_LIMIT:
            raise too_large(version)
        alone = retrieve.read(version, element.at, element.end - element.at)
        return find_value(memoryview(alone), encoding, place) or b""
    if version.size > HEADER_LIMIT and version.layout.pixel is None:
        raise too_large(version)  # deflated
    header, trailer = (retrieve.read(version, start, end - start) for start, end in blocks(version))
    if version.transfer_syntax in DEFLATED_SYNTAXES:
        inflated = inflate_header(header)
        header, trailer = inflated.header, inflated.trailer
    for block in (header, trailer):
        value = find_value(memoryview(block), encoding, place)
        if value is not None:
            return value
    raise _missing(place.tag)
