"""Pass over values that have an inside: sequences of items, and fragments of pixel data.

Nesting is followed with a list, not with recursion, and to a limit: a hostile data set can neither
exhaust the stack nor make the walk quadratic. Every byte is accounted for, so what is passed over here
can be decoded later without surprises.

Source: PS3.5 section 7.5 (Nesting of Data Sets), A.4 (Encapsulation of Encoded Pixel Data).
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Final, NamedTuple

from imagerepo.dicom.dictionary import sequence_tags, vr_of
from imagerepo.dicom.encoding import (
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_BIG,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    KNOWN_VRS,
    LONG_VRS,
    SEQUENCE_DELIMITER,
    SHORT_VRS,
    UNDEFINED_LENGTH,
    Encoding,
    MalformedError,
)

NESTING_LIMIT: Final = 256
"""Sequences within sequences; beyond it a data set is refused. Real ones stay below 20."""
FRAGMENT_LIMIT: Final = 4_000_000
"""Fragments of one pixel data element: at 16 bytes each their table stays below 64 MB."""
ELEMENT_LIMIT: Final = 1_000_000
"""Elements of a data set's top level, and elements and items of each sequence in it: a second or two of
walking. Ten thousand frames of an enhanced CT have about half a million."""

_REMEMBERED: Final = 256  # sequences known to be sound
_REMEMBERED_SIZE: Final = 1024  # bytes of the longest of them


@dataclass(frozen=True, slots=True)
class Fragments:
    """The items of encapsulated pixel data."""

    offset_table: tuple[int, int]  # offset and length of the Basic Offset Table's value
    table: "array[int]"  # u64 pairs: offset of the item's tag, length of its value, in order
    end: int  # the first byte after the sequence delimiter


class Header(NamedTuple):
    """One element's header and where its value lies; offsets in the buffer."""

    vr: bytes  # as written; b'' where it was not
    value: int  # the value's first byte
    length: int  # bytes, or UNDEFINED_LENGTH
    encoding: Encoding  # of what is inside the value


def read_header(view: memoryview, at: int, end: int, encoding: Encoding) -> Header:
    """Read any element's header, also those that the fast loops leave alone.

    An unknown VR has a 32-bit length (PS3.5 7.1.2), except where only another form leads on to
    something that looks like an element: some devices write a 16-bit one, some switch to implicit VR.
    """
    if not encoding.explicit:
        raw, length = encoding.plain_header(view, at)
        return Header(b"", at + 8, length, encoding)
    raw, vr, length = encoding.short_header(view, at)
    if vr in SHORT_VRS:
        return Header(vr, at + 8, length, encoding)
    if vr in LONG_VRS:
        if at + 12 > end:
            raise MalformedError(encoding.tag(raw), at, "the data end within its header")
        length = encoding.length32(view, at + 8)[0]
        inside = encoding
        if vr == b"UN" and length == UNDEFINED_LENGTH:
            inside = IMPLICIT_LITTLE  # PS3.5 6.2.2
        return Header(vr, at + 12, length, inside)
    return _unknown_vr(view, at, end, encoding)


def _unknown_vr(view: memoryview, at: int, end: int, encoding: Encoding) -> Header:
    raw, vr, length = encoding.short_header(view, at)
    implicit = IMPLICIT_LITTLE if encoding.little else IMPLICIT_BIG
    candidates = [Header(b"", at + 8, encoding.length32(view, at + 4)[0], implicit)]
    explicit = [Header(vr, at + 8, length, encoding)]
    if bytes(view[at + 6 : at + 8]) == b"\0\0" and at + 12 <= end:
        long = Header(vr, at + 12, encoding.length32(view, at + 8)[0], encoding)
        explicit.insert(0, long)
    letters = b"AA" <= vr <= b"ZZ" and vr.isalpha()
    candidates = explicit + candidates if letters or vr == b"??" else candidates + explicit
    fitting = [header for header in candidates if _fits(view, header, end)]
    for header in fitting:
        if _leads_on(view, header, end, encoding, encoding.tag(raw)):
            return header
    if fitting:
        return fitting[0]
    shown = vr.decode("ascii", "backslashreplace")
    raise MalformedError(encoding.tag(raw), at, f"unknown VR {shown!r} and a length beyond the end of the data")


def _fits(view: memoryview, header: Header, end: int) -> bool:
    if header.length == UNDEFINED_LENGTH:
        if header.value == end:  # pixel data's header, given without them
            return True
        following = header.encoding.plain_header
        return header.value + 8 <= end and header.encoding.tag(following(view, header.value)[0]) == ITEM
    return header.value + header.length <= end


def _leads_on(view: memoryview, header: Header, end: int, encoding: Encoding, tag: int) -> bool:
    """Whether an element with a higher tag and a known VR, a delimiter or the end follows."""
    if header.length == UNDEFINED_LENGTH:
        return True
    following = header.value + header.length
    if following == end:
        return True
    if following + 8 > end:
        return False
    raw, vr, _ = encoding.short_header(view, following)
    found = encoding.tag(raw)
    if found in (ITEM_DELIMITER, SEQUENCE_DELIMITER):
        return True
    return found > tag and (vr in KNOWN_VRS or header.encoding is not encoding)


def skip_value(view: memoryview, at: int, tag: int, header: Header, end: int) -> tuple[int, Fragments | None]:
    """Pass over a value, checking what is inside.

    Args:
        view: the buffer.
        at: offset of the element's tag, for messages.
        tag: the element's tag.
        header: its header.
        end: of what encloses the element.

    Returns:
        The first byte after the value, and its fragments if it is a sequence of them.
    """
    length = header.length
    if length == UNDEFINED_LENGTH:
        if header.vr in (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV") or (not header.vr and _is_binary(tag)):
            fragments = read_fragments(view, at, tag, header, end)
            return fragments.end, fragments
        if header.vr in SHORT_VRS or header.vr in (b"UC", b"UR", b"UT"):
            raise MalformedError(tag, at, f"undefined length with VR {header.vr.decode('ascii')}")
        return skip_sequence(view, at, tag, header, end), None
    after = header.value + length
    if after > end:
        raise MalformedError(tag, at, f"its length of {length} bytes exceeds the {end - header.value} that are left")
    if header.vr == b"SQ" or (not header.vr and header.encoding.tag(tag) in sequence_tags(header.encoding)):
        known = length <= _REMEMBERED_SIZE and _is_whole(bytes(view[header.value : after]), header.encoding)
        if not known:
            skip_sequence(view, at, tag, header, end)
    return after, None


@lru_cache(maxsize=_REMEMBERED)
def _is_whole(items: bytes, encoding: Encoding) -> bool:
    """Whether a sequence of defined length is sound; many are the same in each instance of a series."""
    try:
        skip_sequence(memoryview(items), 0, 0, Header(b"SQ", 0, len(items), encoding), len(items))
    except MalformedError:
        return False  # to be walked again, for a message with the right place
    return True


def _is_binary(tag: int) -> bool:
    return (vr_of(tag) or "").startswith("O")


def read_fragments(view: memoryview, at: int, tag: int, header: Header, end: int) -> Fragments:
    """Walk encapsulated pixel data item by item (PS3.5 A.4)."""
    unpack = header.encoding.plain_header
    item = header.encoding.tag(ITEM)
    table: array[int] = array("Q")
    append = table.append
    first = pos = header.value
    offset_table = (0, 0)
    limit = end - 8
    while pos <= limit:
        raw, length = unpack(view, pos)
        if raw != item:
            break
        if length > limit - pos:
            raise MalformedError(ITEM, pos, f"fragment of {length} bytes, {max(limit - pos, 0)} are left")
        if pos == first:
            offset_table = (pos + 8, length)
        else:
            append(pos)
            append(length)
            if len(table) > 2 * FRAGMENT_LIMIT:
                raise MalformedError(tag, at, f"more than {FRAGMENT_LIMIT} fragments")
        pos += 8 + length
    if pos > limit:
        raise MalformedError(tag, at, "undefined length never closed by a sequence delimiter")
    raw, length = unpack(view, pos)
    found = header.encoding.tag(raw)
    if found != SEQUENCE_DELIMITER or length:
        raise MalformedError(found, pos, f"not a fragment of ({tag >> 16:04X},{tag & 0xFFFF:04X}) nor its end")
    return Fragments(offset_table, table, pos + 8)


def item_encoding(view: memoryview, at: int, end: int, encoding: Encoding) -> Encoding:
    """The encoding of an item's data set, judged by its first element.

    What is inside an element of VR UN is implicit little endian (PS3.5 6.2.2), but some devices keep
    on writing explicit VR, and others fall back to implicit VR inside explicit sequences.
    """
    if at + 8 > end:
        return encoding
    explicit = bytes(view[at + 4 : at + 6]) in KNOWN_VRS
    if encoding.explicit == explicit:
        return encoding
    if explicit:
        return EXPLICIT_LITTLE if encoding.little else EXPLICIT_BIG
    return encoding


def skip_sequence(view: memoryview, at: int, tag: int, header: Header, end: int) -> int:  # noqa: C901, PLR0912, PLR0915 - one state machine over two states, items and elements
    """Walk a sequence and everything nested in it.

    Returns:
        The first byte after it.
    """
    # The enclosing levels: (their end, whether a delimiter closes them, their encoding).
    stack: list[tuple[int, bool, Encoding]] = []
    pos = header.value
    encoding = header.encoding
    delimited = header.length == UNDEFINED_LENGTH
    level_end = end if delimited else pos + header.length
    in_item = False
    steps = repeat(None, ELEMENT_LIMIT)
    for _ in steps:
        if in_item and encoding.explicit:
            pos = _skip_short(view, pos, level_end, encoding, steps)
        if pos == level_end and not delimited:
            if not stack:
                return pos
            level_end, delimited, encoding = stack.pop()
            in_item = not in_item
            continue
        if pos + 8 > level_end:
            if delimited:
                raise MalformedError(tag, at, "undefined length never closed by a delimiter")
            raise MalformedError(tag, at, f"its items do not end where its length says, at byte {level_end}")
        raw, length = encoding.plain_header(view, pos)
        found = encoding.tag(raw)
        if not in_item:
            if found == ITEM:
                stack.append((level_end, delimited, encoding))
                if len(stack) > 2 * NESTING_LIMIT:
                    raise MalformedError(tag, at, f"sequences nested more than {NESTING_LIMIT} deep")
                start = pos
                pos += 8
                delimited = length == UNDEFINED_LENGTH
                if not delimited:
                    if pos + length > level_end:
                        raise MalformedError(ITEM, start, f"item of {length} bytes, {level_end - pos} are left")
                    level_end = pos + length
                encoding = item_encoding(view, pos, level_end, encoding)
                in_item = True
            elif found == SEQUENCE_DELIMITER and (delimited or pos + 8 == level_end):
                pos += 8
                if not stack:
                    return pos
                level_end, delimited, encoding = stack.pop()
                in_item = True
            else:
                raise MalformedError(found, pos, f"not an item of ({tag >> 16:04X},{tag & 0xFFFF:04X}) nor its end")
            continue
        if found >> 16 == ITEM >> 16:
            if found != ITEM_DELIMITER or not (delimited or pos + 8 == level_end):
                raise MalformedError(found, pos, "delimiter or item out of place")
            pos += 8
            level_end, delimited, encoding = stack.pop()
            in_item = False
            continue
        inner = read_header(view, pos, level_end, encoding)
        if inner.length == UNDEFINED_LENGTH:
            sequence = not (inner.vr[:1] == b"O" or (not inner.vr and _is_binary(found)))
            sequence = sequence and inner.vr not in SHORT_VRS
        else:
            sequence = inner.vr == b"SQ" or (
                not inner.vr and inner.encoding.tag(found) in sequence_tags(inner.encoding)
            )
        if not sequence:
            pos, _ = skip_value(view, pos, found, inner, level_end)
            continue
        if inner.length != UNDEFINED_LENGTH and inner.value + inner.length > level_end:
            raise MalformedError(found, pos, f"its length of {inner.length} bytes exceeds what encloses it")
        stack.append((level_end, delimited, encoding))
        pos = inner.value
        delimited = inner.length == UNDEFINED_LENGTH
        if not delimited:
            level_end = pos + inner.length
        encoding = inner.encoding
        in_item = False
    raise MalformedError(tag, at, f"more than {ELEMENT_LIMIT} elements and items")


def _skip_short(view: memoryview, pos: int, end: int, encoding: Encoding, steps: Iterator[None]) -> int:
    """Pass over elements of an item as long as their VRs are short: most are."""
    header, mask, item_group = encoding.short_header, encoding.group_mask, encoding.item_group
    last = end - 8
    for _ in steps:
        if pos > last:
            return pos
        raw, vr, length = header(view, pos)
        after = pos + 8 + length
        if vr not in SHORT_VRS or raw & mask == item_group or after > end:
            return pos
        pos = after
    return pos
