"""Inflate deflated data sets, within bounds: pixel data are counted, not kept.

A deflated bomb of 1 MB inflates to 1 GB; a segmentation may do so in earnest. What is looked at is the
elements before pixel data and after them, so that only these are held in memory.

Source: PS3.5 A.5 (Deflated Explicit VR Little Endian): RFC 1951, no zlib header.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from imagerepo.dicom.attributes import PIXEL_TAGS
from imagerepo.dicom.encoding import EXPLICIT_LITTLE, UNDEFINED_LENGTH, MalformedError
from imagerepo.dicom.sequences import read_header
from imagerepo.dicom.walk import walk
from imagerepo.errors import BadDicomError, TooLargeError
from imagerepo.model.arrival import Buffer

INFLATED_LIMIT: Final = 1 << 30
"""Largest inflated data set, in bytes."""
KEPT_LIMIT: Final = 64 << 20
"""Largest part of it that is held in memory, in bytes."""

_STEP: Final = 1 << 16  # bytes of input a step
_OUTPUT: Final = 1 << 20  # bytes of output a step, at the most
_TRAILING: Final = 16  # bytes after the stream that are forgiven: padding, or a checksum of gzip or zlib


@dataclass(frozen=True, slots=True)
class Inflated:
    """A deflated data set without the value of its pixel data."""

    header: bytes  # up to the pixel data element's tag; everything if there is none
    pixel: bytes  # that element's tag, VR and length; b'' if there is none
    trailer: bytes  # what follows its value


def _chunks(view: memoryview) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    pos = total = 0
    pending = b""
    while not inflater.eof:
        if not pending:
            pending = bytes(view[pos : pos + _STEP])  # a copy: a view would keep a map from closing
            pos += len(pending)
        if not pending:
            raise BadDicomError(f"deflated data set: the stream ends early, after byte {pos}")
        try:
            chunk = inflater.decompress(pending, _OUTPUT)
        except zlib.error as error:
            raise BadDicomError(f"deflated data set: not a deflate stream near byte {pos}: {error}") from None
        pending = inflater.unconsumed_tail
        total += len(chunk)
        if total > INFLATED_LIMIT:
            raise TooLargeError(f"deflated data set: it inflates to more than {INFLATED_LIMIT} bytes")
        yield chunk
    trailing = len(view) - pos + len(inflater.unused_data)
    if trailing > _TRAILING:
        raise BadDicomError(f"deflated data set: {trailing} bytes follow the end of the stream")


def inflate_header(data_set: Buffer) -> Inflated:
    """Inflate all of a deflated data set, and keep all but the value of its pixel data.

    Raises:
        BadDicomError: not a deflate stream, one that ends early, or damaged elements in it.
        TooLargeError: it grows beyond a limit.
    """
    with memoryview(data_set) as view:
        chunks = _chunks(view)
        kept = bytearray()
        for chunk in chunks:
            kept += chunk
            if len(kept) >= KEPT_LIMIT:
                return _without_pixel_data(kept, chunks)
    return _split(kept)


def _split(whole: bytearray) -> Inflated:
    """Cut the pixel data's value out of a data set that fits in memory."""
    encoding = EXPLICIT_LITTLE
    with memoryview(whole) as view:
        found = walk(view, encoding, {encoding.tag(tag): tag for tag in PIXEL_TAGS})
        element = next((found[tag] for tag in PIXEL_TAGS if tag in found), None)
        if element is None:
            return Inflated(bytes(view), b"", b"")
        return Inflated(bytes(view[: element.at]), bytes(view[element.at : element.value]), bytes(view[element.end :]))


def _without_pixel_data(kept: bytearray, chunks: Iterator[bytes]) -> Inflated:
    """Likewise of one whose beginning alone was kept: pixel data begin in it and end beyond."""
    encoding = EXPLICIT_LITTLE
    tags = {encoding.tag(tag): tag for tag in PIXEL_TAGS}
    with memoryview(kept) as view:
        try:
            found = walk(view, encoding, tags)
            at = next((element.at for element in found.values()), -1)
        except MalformedError as error:
            at = error.offset if error.tag in PIXEL_TAGS else -1
        header = read_header(view, at, len(view), encoding) if at >= 0 else None
    if header is None or header.length == UNDEFINED_LENGTH:
        raise TooLargeError(f"deflated data set: more than {KEPT_LIMIT} bytes before or besides native pixel data")
    after = header.value + header.length
    size = len(kept)
    trailer = bytearray(kept[after:])
    for chunk in chunks:
        size += len(chunk)
        if size > after:
            trailer += chunk[-(size - after) :]
        if len(trailer) > KEPT_LIMIT:
            raise TooLargeError(f"deflated data set: more than {KEPT_LIMIT} bytes after pixel data")
    if size < after:
        raise BadDicomError(
            f"deflated data set: pixel data at byte {at} end {after - size} bytes beyond the end of the data"
        )
    return Inflated(bytes(kept[:at]), bytes(kept[at : header.value]), bytes(trailer))
