"""Read a small data set as values: the identifier of a query or retrieval, what an N-service is sent.

All of it becomes text, sequences become items: who asks decides what a value means. Bytes that are no text or number
are left out (their attribute stands, empty), since nothing is matched by them.

Source: PS3.5 sections 6.2 (VR) and 7 (The Data Set); PS3.4 C.2.2 (Attributes of identifiers).
"""

import struct
import zlib
from dataclasses import dataclass
from typing import Final

from imagerepo.dicom.charset import DEFAULT, Charset, charset_of, decode, decode_name
from imagerepo.dicom.dictionary import vr_of
from imagerepo.dicom.encoding import (
    DEFLATED_SYNTAXES,
    IMPLICIT_LITTLE,
    ITEM,
    ITEM_DELIMITER,
    KNOWN_VRS,
    SEQUENCE_DELIMITER,
    UNDEFINED_LENGTH,
    Encoding,
    MalformedError,
    encoding_of,
)
from imagerepo.dicom.sequences import Header, item_encoding, read_header
from imagerepo.errors import BadDicomError
from imagerepo.model import header
from imagerepo.model.header import Attribute
from imagerepo.model.uids import Uid

SIZE_LIMIT: Final = 1 << 20
"""Bytes of the largest identifier, deflated or not: real ones stay below 10 KB."""
_NESTING_LIMIT: Final = 32
_VALUES_LIMIT: Final = 100_000  # values of one attribute

_SPECIFIC_CHARACTER_SET: Final = 0x00080005
_TEXT: Final = frozenset({"LO", "LT", "SH", "ST", "UC", "UT"})
_SINGLE: Final = frozenset({"LT", "ST", "UT", "UR"})  # a backslash is a character of these (PS3.5 6.4)
_CODES: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"})
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "I", "SL": "i", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}


@dataclass(frozen=True, slots=True)
class Identifier:
    """A data set that was read."""

    attributes: header.Header
    """Text as its VR has it, without padding; an attribute of length zero has no values."""
    charset: str
    """Specific Character Set as named, values joined by a backslash; '' for the default repertoire."""

    def text(self, tag: str) -> str:
        """The values of an attribute, joined by a backslash; '' where it is absent, empty or a sequence."""
        attribute = self.attributes.get(tag)
        return (
            "" if attribute is None else "\\".join(str(one) for one in attribute.values if not isinstance(one, dict))
        )


def decode_identifier(data_set: bytes, transfer_syntax: str) -> Identifier:
    """Read all of a data set.

    Raises:
        BadDicomError: it is malformed, or larger than an identifier; names the element and the byte.
    """
    if len(data_set) > SIZE_LIMIT:
        raise BadDicomError(f"an identifier of {len(data_set)} bytes; {SIZE_LIMIT} at the most are read")
    if transfer_syntax in DEFLATED_SYNTAXES:
        data_set = _inflate(data_set)
    reader = _Reader(data_set)
    encoding = encoding_of(Uid(transfer_syntax))
    attributes, _ = reader.data_set(0, len(data_set), encoding, DEFAULT, 0)
    return Identifier(attributes, reader.charset)


def _inflate(data_set: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(data_set, SIZE_LIMIT)
    except zlib.error as error:
        raise BadDicomError(f"deflated identifier: not a deflate stream: {error}") from None
    if not inflater.eof:
        raise BadDicomError(f"deflated identifier: it ends early, or inflates to more than {SIZE_LIMIT} bytes")
    return inflated


class _Reader:
    """One data set's bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._view = memoryview(data)
        self.charset = ""  # of the top level

    def data_set(
        self, pos: int, end: int, encoding: Encoding, charset: Charset, depth: int
    ) -> tuple[dict[str, Attribute], int]:
        """The attributes from `pos` up to `end` or an item delimiter, and the first byte after them."""
        attributes: dict[str, Attribute] = {}
        while pos + 8 <= end:
            tag = encoding.tag(encoding.plain_header(self._view, pos)[0])
            if tag == ITEM_DELIMITER and depth:
                return attributes, pos + 8
            if tag >> 16 in {ITEM >> 16, 0}:
                raise MalformedError(tag, pos, "out of place in a data set")
            found = read_header(self._view, pos, end, encoding)
            vr = _vr(tag, found)
            if vr == "SQ":
                values, after = self._items(tag, pos, found, end, charset, depth)
            else:
                after = found.value + found.length
                if found.length == UNDEFINED_LENGTH or after > end:
                    raise MalformedError(tag, pos, "its value ends beyond what encloses it")
                content = self._data[found.value : after]
                if tag == _SPECIFIC_CHARACTER_SET:
                    charset = charset_of(content)
                    if not depth:
                        self.charset = content.decode("latin_1").strip(" \0")
                values = _values(content, vr, charset, found.encoding)
            if tag & 0xFFFF:  # no group length
                attributes[f"{tag:08X}"] = Attribute(vr, values)
            pos = after
        if any(self._view[pos:end]):
            raise MalformedError(0, pos, f"{end - pos} bytes after the last element are not an element")
        return attributes, end

    def _items(
        self, tag: int, at: int, found: Header, end: int, charset: Charset, depth: int
    ) -> tuple[tuple[header.Header, ...], int]:
        if depth >= _NESTING_LIMIT:
            raise MalformedError(tag, at, f"sequences nested more than {_NESTING_LIMIT} deep")
        encoding = IMPLICIT_LITTLE if found.vr == b"UN" else found.encoding  # PS3.5 6.2.2
        delimited = found.length == UNDEFINED_LENGTH
        if not delimited:
            if found.value + found.length > end:
                raise MalformedError(tag, at, "its items end beyond what encloses them")
            end = found.value + found.length
        pos, items = found.value, list[header.Header]()
        while delimited or pos < end:
            if pos + 8 > end:
                raise MalformedError(tag, at, "its items do not end where it does")
            raw, length = encoding.plain_header(self._view, pos)
            inner = encoding.tag(raw)
            if inner == SEQUENCE_DELIMITER:
                pos += 8
                break
            if inner != ITEM:
                raise MalformedError(inner, pos, f"not an item of ({tag >> 16:04X},{tag & 0xFFFF:04X}) nor its end")
            start = pos + 8
            item_end = end if length == UNDEFINED_LENGTH else start + length
            if item_end > end:
                raise MalformedError(ITEM, pos, f"item of {length} bytes, {end - start} are left")
            syntax = item_encoding(self._view, start, item_end, encoding)
            item, pos = self.data_set(start, item_end, syntax, charset, depth + 1)
            items.append(item)
        return tuple(items), pos


def _vr(tag: int, found: Header) -> str:
    written = found.vr
    if written in KNOWN_VRS and written != b"UN":
        return written.decode("ascii")
    known = vr_of(tag)
    if known is None:
        return "SQ" if found.length == UNDEFINED_LENGTH else "UN"
    return known[:2]  # of an ambiguous VR its first


def _values(content: bytes, vr: str, charset: Charset, encoding: Encoding) -> tuple[str, ...]:
    if not content:
        return ()
    if vr in _NUMBERS:
        return _numbers(content, _NUMBERS[vr], encoding)
    if vr == "AT":
        pairs = [str(one) for one in _numbers(content, "H", encoding)]
        return tuple(
            f"{int(group):04X}{int(element):04X}" for group, element in zip(pairs[::2], pairs[1::2], strict=False)
        )
    if vr == "PN":
        text = decode_name(content, charset)
    elif vr in _TEXT:
        text = decode(content, charset)
    elif vr in _CODES:
        text = content.decode("latin_1")
    else:
        return ()
    if vr in _SINGLE:
        text = text.rstrip(" \0")
        return (text,) if text else ()
    values = tuple(value.strip(" \0") for value in text.split("\\", _VALUES_LIMIT))
    return values if any(values) else ()


def _numbers(content: bytes, kind: str, encoding: Encoding) -> tuple[str, ...]:
    order = "<" if encoding.little else ">"
    size = struct.calcsize(kind)
    count = min(len(content) // size, _VALUES_LIMIT)
    return tuple(map(str, struct.unpack_from(f"{order}{count}{kind}", content)))
