"""Walk the top level of a data set once, from its first byte to its last.

The loops below run for every element of every instance received: they look at headers only, jump over
values, and keep the places of the few elements that are wanted.

Source: PS3.5 section 7.1 (Data Elements).
"""

from collections.abc import Mapping
from itertools import repeat
from typing import Final, NamedTuple

from imagerepo.dicom.dictionary import sequence_tags
from imagerepo.dicom.encoding import LONG_VRS, SHORT_VRS, UNDEFINED_LENGTH, Encoding, MalformedError
from imagerepo.dicom.sequences import ELEMENT_LIMIT, Fragments, read_header, skip_value

_PADDING_LIMIT: Final = 1 << 20  # bytes of NUL after the last element that are forgiven


class Found(NamedTuple):
    """Where one element lies; offsets in the buffer. A tuple, for what its making takes: thirty an instance."""

    vr: bytes  # as written; b'' in implicit VR
    at: int  # its tag
    value: int  # its value's first byte
    end: int  # the first byte after it
    fragments: Fragments | None = None


def walk(view: memoryview, encoding: Encoding, wanted: Mapping[int, int]) -> dict[int, Found]:
    """Check that elements fill the buffer exactly, and find some of them.

    Args:
        view: the data set.
        encoding: its encoding.
        wanted: raw tag (see Encoding) -> tag, of the elements to find.

    Returns:
        By tag the elements found; of repeated ones the last.

    Raises:
        MalformedError: an element is not what its header says; offsets count from the data set's start.
    """
    return _walk_explicit(view, encoding, wanted) if encoding.explicit else _walk_implicit(view, encoding, wanted)


def _walk_explicit(view: memoryview, encoding: Encoding, wanted: Mapping[int, int]) -> dict[int, Found]:
    short_header, length32 = encoding.short_header, encoding.length32
    short_vrs, long_vrs = SHORT_VRS, LONG_VRS
    found: dict[int, Found] = {}
    end = len(view)
    last = end - 12  # with 12 bytes left any header can be read
    at = pos = 0
    for _ in repeat(None, ELEMENT_LIMIT):
        if pos > last:
            break
        at = pos
        raw, vr, length = short_header(view, pos)
        fragments = None
        if vr in short_vrs:
            value = pos + 8
            pos = value + length
        elif vr in long_vrs and vr != b"SQ" and (length := length32(view, pos + 8)[0]) != UNDEFINED_LENGTH:
            value = pos + 12
            pos = value + length
        elif raw == 0:
            if _is_padding(view, pos):
                return found
            raise MalformedError(0, pos, "no element has this tag; NUL bytes are padding at the end only")
        else:
            header = read_header(view, pos, end, encoding)
            vr, value = header.vr, header.value
            pos, fragments = skip_value(view, pos, encoding.tag(raw), header, end)
        if raw in wanted:
            found[wanted[raw]] = Found(vr, at, value, pos, fragments)
    else:
        raise MalformedError(0, pos, f"more than {ELEMENT_LIMIT} elements")
    return _finish(view, encoding, wanted, found, at, pos)


def _walk_implicit(view: memoryview, encoding: Encoding, wanted: Mapping[int, int]) -> dict[int, Found]:
    plain_header = encoding.plain_header
    sequences = sequence_tags(encoding)
    found: dict[int, Found] = {}
    end = len(view)
    last = end - 12
    at = pos = 0
    for _ in repeat(None, ELEMENT_LIMIT):
        if pos > last:
            break
        at = pos
        raw, length = plain_header(view, pos)
        fragments = None
        value = pos + 8
        if length != UNDEFINED_LENGTH and raw not in sequences:
            pos = value + length
        else:
            header = read_header(view, pos, end, encoding)
            pos, fragments = skip_value(view, pos, encoding.tag(raw), header, end)
        if raw in wanted:
            found[wanted[raw]] = Found(b"", at, value, pos, fragments)
    else:
        raise MalformedError(0, pos, f"more than {ELEMENT_LIMIT} elements")
    return _finish(view, encoding, wanted, found, at, pos)


def _finish(
    view: memoryview, encoding: Encoding, wanted: Mapping[int, int], found: dict[int, Found], at: int, pos: int
) -> dict[int, Found]:
    """The last bytes, too few for any header: an element with a short one, padding, or damage."""
    end = len(view)
    if pos == end:
        return found
    if pos > end:
        raw = encoding.plain_header(view, at)[0]
        raise MalformedError(encoding.tag(raw), at, f"its value ends {pos - end} bytes beyond the end of the data")
    if _is_padding(view, pos):
        return found
    if end - pos < 8:
        raise MalformedError(0, pos, f"{end - pos} bytes after the last element are not an element")
    header = read_header(view, pos, end, encoding)
    raw = encoding.plain_header(view, pos)[0]
    after, fragments = skip_value(view, pos, encoding.tag(raw), header, end)
    if raw in wanted:
        found[wanted[raw]] = Found(header.vr, pos, header.value, after, fragments)
    if not _is_padding(view, after):
        raise MalformedError(0, after, f"{end - after} bytes after the last element are not an element")
    return found


def _is_padding(view: memoryview, pos: int) -> bool:
    """Whether only NUL bytes follow, as left by tapes, sectors and writers of odd lengths."""
    left = len(view) - pos
    return left <= _PADDING_LIMIT and not any(view[pos:])
