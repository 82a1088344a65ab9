"""Find one value in a data set by the path that its BulkDataURI ends with: tag, or tag, item from 1, tag, and so on.

Source: PS3.18 F.2.6 (BulkDataURI), PS3.5 section 7.5 (Nesting of Data Sets).
"""

import re
from dataclasses import dataclass
from typing import Final

from imagerepo.dicom.encoding import ITEM, ITEM_DELIMITER, UNDEFINED_LENGTH, Encoding
from imagerepo.dicom.sequences import item_encoding, read_header, skip_value
from imagerepo.dicom.walk import walk
from imagerepo.errors import BadRequestError, NotFoundError

_PATH: Final = re.compile(r"[0-9A-Fa-f]{8}(?:/[1-9][0-9]{0,8}/[0-9A-Fa-f]{8}){0,64}\Z")


@dataclass(frozen=True, slots=True)
class Place:
    """A path to a value."""

    tag: int
    items: tuple[tuple[int, int], ...]  # (item from 1, tag in it), from the outermost


def parse_place(text: str) -> Place:
    """Parse a path. Raises BadRequestError."""
    if _PATH.match(text) is None:
        raise BadRequestError(f"bulkdata {text[:60]!r} is not a tag, nor tags with the numbers of items between them")
    first, *rest = text.split("/")
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return Place(int(first, 16), tuple((int(item), int(tag, 16)) for item, tag in pairs))


def find_value(data_set: memoryview, encoding: Encoding, place: Place) -> bytes | None:
    """The value at `place`; None if the top level has not its first element.

    Raises:
        NotFoundError: the top level has it, but not what is below.
    """
    view, tag = data_set, place.tag
    found = walk(view, encoding, {encoding.tag(tag): tag}).get(tag)
    if found is None:
        return None
    for item, inner in place.items:
        header = read_header(view, found.at, len(view), encoding)
        view, encoding = _item(view[: found.end], header.value, item, header.encoding)
        found = walk(view, encoding, {encoding.tag(inner): inner}).get(inner)
        if found is None:
            raise NotFoundError(f"item {item} has no element ({inner >> 16:04X},{inner & 0xFFFF:04X})")
    return bytes(view[found.value : found.end])


def _item(view: memoryview, position: int, number: int, encoding: Encoding) -> tuple[memoryview, Encoding]:
    """The elements of an item of the sequence whose value begins at `position` and ends the view."""
    while position + 8 <= len(view):
        raw, length = encoding.plain_header(view, position)
        if encoding.tag(raw) != ITEM:
            break
        start = position + 8
        if length == UNDEFINED_LENGTH:
            inside = item_encoding(view, start, len(view), encoding)
            end = _delimiter(view, start, inside)
            position = end + 8
        else:
            end = position = start + length
            inside = item_encoding(view, start, end, encoding)
        number -= 1
        if not number:
            return view[start:end], inside
    raise NotFoundError("the sequence has not so many items")


def _delimiter(view: memoryview, position: int, encoding: Encoding) -> int:
    """Where the delimiter of the item whose elements begin at `position` is."""
    while position + 8 <= len(view):
        tag = encoding.tag(encoding.plain_header(view, position)[0])
        if tag == ITEM_DELIMITER:
            return position
        position, _ = skip_value(view, position, tag, read_header(view, position, len(view), encoding), len(view))
    raise NotFoundError("the item does not end")
