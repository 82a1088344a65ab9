"""Inflate deflated data sets, within bounds: pixel data are counted, not kept.

A deflated bomb of 1 MB inflates to 1 GB; a segmentation may do so in earnest. What is looked at is the
elements before pixel data and after them, so that only these are held in memory.

Source: PS3.5 A.5 (Deflated Explicit VR Little Endian): RFC 1951, no zlib header.
"""

import zlib
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from mmap import mmap
from threading import BoundedSemaphore
from typing import Final

from imagerepo.dicom.attributes import PIXEL_TAGS
from imagerepo.dicom.encoding import EXPLICIT_LITTLE, UNDEFINED_LENGTH, MalformedError
from imagerepo.dicom.sequences import read_header
from imagerepo.dicom.walk import walk
from imagerepo.errors import BadDicomError, RefusedError, TooLargeError
from imagerepo.model.arrival import Buffer

INFLATED_LIMIT: Final = 1 << 30
"""Largest inflated data set, in bytes."""
KEPT_LIMIT: Final = 16 << 20
"""Largest part of it that is held in memory, in bytes: what comes before and after pixel data. Half a million
elements of functional groups (see sequences.ELEMENT_LIMIT) take about 10 MB, at 20 bytes each."""
AT_ONCE: Final = 2
"""Data sets inflated at the same time in one process; others wait. A file of 60 KB makes a process hold all that is
kept, so that only their number bounds the sum: about 2.5 times KEPT_LIMIT each while parts are cut. Two, as
one alone would let the largest, which takes seconds, stop all others."""

_PLACES: Final = BoundedSemaphore(AT_ONCE)
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
        try:
            chunk = inflater.decompress(pending, _OUTPUT)
        except zlib.error as error:
            raise BadDicomError(f"deflated data set: not a deflate stream near byte {pos}: {error}") from None
        if not (pending or chunk or inflater.eof):  # all input may be taken while there is output to come
            raise BadDicomError(f"deflated data set: the stream ends early, after byte {pos}")
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

    Waits while `AT_ONCE` others are inflated. What is returned is no longer counted: where it can be used
    and left at once, `inflated` bounds that too.

    Raises:
        BadDicomError: not a deflate stream, one that ends early, or damaged elements in it.
        TooLargeError: it grows beyond a limit.
    """
    with _PLACES:
        return _inflate(data_set)


@contextmanager
def inflated(data_set: Buffer, look: Callable[[Inflated], memoryview]) -> Generator[memoryview, None, None]:
    """Likewise, counted for as long as it is looked at, and held no longer.

    Args:
        data_set: the deflated data set.
        look: makes the view that is given, and released at the end.
    """
    with _PLACES, look(_inflate(data_set)) as view:
        yield view


def _inflate(data_set: Buffer) -> Inflated:
    try:
        return _keep(data_set)
    except RefusedError as error:
        # Its traceback, or that of its cause, would hold what was inflated for as long as the error lives.
        error.__context__ = None
        raise error.with_traceback(None) from None


def _keep(data_set: Buffer) -> Inflated:
    # A map of its own: freed from the heap, each thread's allocator would keep it.
    kept = mmap(-1, KEPT_LIMIT + _OUTPUT)
    size = 0
    with memoryview(data_set) as view:
        chunks = _chunks(view)
        for chunk in chunks:
            kept[size : size + len(chunk)] = chunk
            size += len(chunk)
            if size >= KEPT_LIMIT:
                with memoryview(kept) as whole, whole[:size] as beginning:
                    return _without_pixel_data(beginning, chunks)
    with memoryview(kept) as whole, whole[:size] as everything:
        return _split(everything)


def _split(view: memoryview) -> Inflated:
    """Cut the pixel data's value out of a data set that fits in memory."""
    encoding = EXPLICIT_LITTLE
    found = walk(view, encoding, {encoding.tag(tag): tag for tag in PIXEL_TAGS})
    element = next((found[tag] for tag in PIXEL_TAGS if tag in found), None)
    if element is None:
        return Inflated(bytes(view), b"", b"")
    return Inflated(bytes(view[: element.at]), bytes(view[element.at : element.value]), bytes(view[element.end :]))


def _without_pixel_data(view: memoryview, chunks: Iterator[bytes]) -> Inflated:
    """Likewise of one whose beginning alone was kept: pixel data begin in it and end beyond."""
    encoding = EXPLICIT_LITTLE
    tags = {encoding.tag(tag): tag for tag in PIXEL_TAGS}
    trailer = bytearray()
    try:
        found = walk(view, encoding, tags)
        at = next((element.at for element in found.values()), -1)
    except MalformedError as error:
        at = error.offset if error.tag in PIXEL_TAGS else -1
    header = read_header(view, at, len(view), encoding) if at >= 0 else None
    if header is None or header.length == UNDEFINED_LENGTH:
        raise TooLargeError(f"deflated data set: more than {KEPT_LIMIT} bytes before or besides native pixel data")
    after = header.value + header.length
    trailer += view[after:]
    size = len(view)
    before, pixel = bytes(view[:at]), bytes(view[at : header.value])
    for chunk in chunks:
        size += len(chunk)
        if size > after:
            trailer += chunk[-(size - after) :]
        if len(before) + len(trailer) > KEPT_LIMIT:
            raise TooLargeError(f"deflated data set: more than {KEPT_LIMIT} bytes besides pixel data")
    if size < after:
        raise BadDicomError(
            f"deflated data set: pixel data at byte {at} end {after - size} bytes beyond the end of the data"
        )
    return Inflated(before, pixel, bytes(trailer))
