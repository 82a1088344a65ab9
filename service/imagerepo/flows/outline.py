"""The top level of a stored data set, element by element through small reads: values of any size are passed over.

Ingest has checked the structure, so lengths are relied on here.

Source: PS3.5 section 7.1 (Data Elements).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from imagerepo.dicom.dictionary import sequence_tags
from imagerepo.dicom.encoding import KNOWN_VRS, UNDEFINED_LENGTH, Encoding, MalformedError, encoding_of
from imagerepo.dicom.sequences import read_header, skip_value
from imagerepo.errors import NotAcceptableError
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version

HEADER_LIMIT: Final = 32 << 20
"""Bytes of one instance's elements that are held in memory at the most."""

_WINDOW: Final = 64 << 10  # bytes read at a time
_WINDOWS: Final = (_WINDOW, 1 << 20, 8 << 20, HEADER_LIMIT)  # bytes in which the end of a value is looked for


@dataclass(frozen=True, slots=True)
class Element:
    """Where one element lies; offsets in bytes of the Part 10 file."""

    tag: int
    at: int  # its tag
    value: int  # its value's first byte
    end: int  # the first byte after it
    plain: bool  # its length is written, and its value has nothing inside


def blocks(version: Version) -> tuple[tuple[int, int], tuple[int, int]]:
    """First byte and end of the elements before pixel data, and of those after, in the Part 10 file."""
    layout = version.layout
    return (layout.data_set_offset, layout.header_length), (layout.trailer_offset, version.size)


def elements(retrieve: Retrieve, version: Version, start: int, end: int) -> Iterator[Element]:
    """The elements in [start, end) of a version that is not deflated; blocks.

    Raises:
        NotAcceptableError: the end of one cannot be found by looking at HEADER_LIMIT bytes.
    """
    encoding = encoding_of(version.transfer_syntax)
    sequences = sequence_tags(encoding)
    window, begin = memoryview(b""), start
    at = start
    while at + 8 <= end:
        if at + 12 > begin + len(window) < end:
            window, begin = memoryview(retrieve.read(version, at, min(_WINDOW, end - at))), at
        raw, vr, _ = encoding.short_header(window, at - begin)
        if not raw:
            return  # padding
        if encoding.explicit and vr not in KNOWN_VRS:
            raise too_large(version)  # what its length is shows only in what follows
        header = read_header(window, at - begin, len(window), encoding)
        value = begin + header.value
        tag = encoding.tag(raw)
        if header.length == UNDEFINED_LENGTH:
            after = _end(retrieve, version, tag, at, end, encoding)
        else:
            after = value + header.length
        sequence = header.vr == b"SQ" if encoding.explicit else raw in sequences
        yield Element(tag, at, value, after, plain=header.length != UNDEFINED_LENGTH and not sequence)
        at = after


def _end(retrieve: Retrieve, version: Version, tag: int, at: int, end: int, encoding: Encoding) -> int:
    """Where an element of undefined length ends."""
    for size in _WINDOWS:
        stop = min(at + size, end)
        view = memoryview(retrieve.read(version, at, stop - at))
        try:
            return at + skip_value(view, 0, tag, read_header(view, 0, len(view), encoding), len(view))[0]
        except MalformedError:
            if stop == end:
                raise
    raise too_large(version)


def too_large(version: Version) -> NotAcceptableError:
    """What is said of an instance whose elements cannot be held."""
    return NotAcceptableError(
        f"instance {version.instance_uid} has more than {HEADER_LIMIT} bytes beside its pixel data, which is the "
        "limit here; retrieve the instance itself"
    )
