"""Read and make Part 10 files: what an instance is, and where its bytes lie.

Nothing large is copied: values are jumped over, so that an instance of gigabytes is read from a map
of its file in the time its headers take. What is kept of a value is cut from it, and an offset table is read
if it has an entry a frame: what is allocated never follows from the length that one element claims.

Source: PS3.10 section 7.1 (File Meta Information), PS3.5 section 7 (The Data Set).
"""

import struct
import sys
from array import array
from dataclasses import dataclass
from typing import Any, Final, Literal

from imagerepo.dicom import attributes as fields
from imagerepo.dicom import frames
from imagerepo.dicom.charset import DEFAULT, charset_of
from imagerepo.dicom.encoding import (
    DEFLATED_SYNTAXES,
    EXPLICIT_LITTLE,
    KNOWN_VRS,
    LONG_VRS,
    Encoding,
    MalformedError,
    encoding_of,
)
from imagerepo.dicom.inflate import Inflated, inflated
from imagerepo.dicom.walk import walk
from imagerepo.errors import BadDicomError
from imagerepo.model.arrival import Buffer
from imagerepo.model.instance import Attributes, Layout, PixelLayout
from imagerepo.model.uids import Uid, is_uid

IMPLEMENTATION_CLASS_UID: Final = Uid("2.25.211530126358493706171823906436240461117")
IMPLEMENTATION_VERSION_NAME: Final = "IMAGEREPO_1"  # SH, at most 16 characters

_PREAMBLE: Final = 128  # bytes
_META_START: Final = _PREAMBLE + 4
_META_LIMIT: Final = 1 << 20  # bytes of group 2; real ones are below 1 KB, private information aside
_TRANSFER_SYNTAX: Final = 0x0010
_SOP_CLASS: Final = 0x0002
_SOP_INSTANCE: Final = 0x0003


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What group 2 says (PS3.10 Table 7.1-1)."""

    transfer_syntax: Uid
    sop_class_uid: Uid  # '' where absent: the data set says it again
    sop_instance_uid: Uid  # likewise
    data_set_offset: int  # bytes; the first one after group 2


def read_meta(buffer: Buffer) -> FileMeta:
    """Read group 2, walking its elements: its group length is not relied on.

    Args:
        buffer: a Part 10 file, or its first bytes with all of group 2.

    Raises:
        BadDicomError: not a Part 10 file; names the element and byte.
    """
    with memoryview(buffer) as view:
        if len(view) < _META_START or bytes(view[_PREAMBLE:_META_START]) != b"DICM":
            raise BadDicomError("not a DICOM file: no DICM at byte 128 (PS3.10 section 7.1)")
        values, pos = _walk_meta(view)
        syntax = values.get(_TRANSFER_SYNTAX, "")
        if not is_uid(syntax):
            raise BadDicomError(f"Transfer Syntax UID (0002,0010) is {_shown(syntax)}")
        sop_class, sop_instance = values.get(_SOP_CLASS, ""), values.get(_SOP_INSTANCE, "")
        return FileMeta(Uid(syntax), Uid(sop_class), Uid(sop_instance), pos)


def _walk_meta(view: memoryview) -> tuple[dict[int, str], int]:
    """The UIDs of group 2 by element number, and the first byte after it."""
    values: dict[int, str] = {}
    pos, end = _META_START, len(view)
    header, length32 = EXPLICIT_LITTLE.short_header, EXPLICIT_LITTLE.length32
    while pos + 8 <= end:
        raw, vr, length = header(view, pos)
        if raw & 0xFFFF != 0x0002:
            break
        element = raw >> 16
        tag = 0x00020000 | element
        value = pos + 8
        if vr in LONG_VRS:
            if pos + 12 > end:
                raise MalformedError(tag, pos, "the file ends within its header")
            length = length32(view, pos + 8)[0]
            value = pos + 12
        elif vr not in KNOWN_VRS:  # group 2 in implicit VR: seen from old writers
            length = length32(view, pos + 4)[0]
        if value + length > end:
            raise MalformedError(tag, pos, "its length goes beyond the end of the file")
        if element in {_TRANSFER_SYNTAX, _SOP_CLASS, _SOP_INSTANCE}:
            values[element] = str(view[value : value + min(length, 256)], "latin_1").rstrip("\0 ")
        pos = value + length
        if pos > _META_START + _META_LIMIT:
            raise MalformedError(tag, value, f"group 2 exceeds {_META_LIMIT} bytes")
    return values, pos


def _shown(uid: str) -> str:
    """What is wrong with a UID."""
    if not uid:
        return "missing or empty"
    return f"{uid[:70]!r}, not a UID: digits and dots, 1 to 64 characters (PS3.5 9.1)"


def make_meta(sop_class_uid: Uid, sop_instance_uid: Uid, transfer_syntax: Uid, source_ae: str) -> bytes:
    """Preamble, prefix and group 2 for a data set that came without them.

    Args:
        sop_class_uid: of the data set.
        sop_instance_uid: of the data set.
        transfer_syntax: of the data set's encoding.
        source_ae: the sender's AE title; '' leaves the element out.

    Source: PS3.10 Table 7.1-1.
    """
    elements = [
        struct.pack("<HH2sHIH", 2, 1, b"OB", 0, 2, 0x0100),  # version: bytes 00 01
        _meta_element(_SOP_CLASS, b"UI", sop_class_uid),
        _meta_element(_SOP_INSTANCE, b"UI", sop_instance_uid),
        _meta_element(_TRANSFER_SYNTAX, b"UI", transfer_syntax),
        _meta_element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID),
        _meta_element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
    ]
    if source_ae:
        elements.append(_meta_element(0x0016, b"AE", source_ae))
    body = b"".join(elements)
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(body))
    return b"".join((bytes(_PREAMBLE), b"DICM", length, body))


def _meta_element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii", "replace")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


def read_data_set(data_set: Buffer, transfer_syntax: Uid, data_set_offset: int) -> tuple[Attributes, Layout]:
    """Read what the index keeps, checking every element of the data set on the way.

    Args:
        data_set: the data set alone, from its first byte to its last.
        transfer_syntax: its encoding.
        data_set_offset: where its first byte lies in the Part 10 file, in bytes.

    Returns:
        The attributes, and a layout whose offsets count from the file's first byte.

    Raises:
        BadDicomError: the structure is damaged, or an identifying UID is missing; names the element and
            byte (of the file; of the inflated data set if it is deflated).
        TooLargeError: it inflates beyond its limit.

    Source: PS3.5 section 7.
    """
    if transfer_syntax in DEFLATED_SYNTAXES:
        size = data_set_offset + memoryview(data_set).nbytes
        # No name is given to what was inflated: an error's traceback would hold it for as long as the error lives.
        with inflated(data_set, _whole) as view:
            values = _Values(view, encoding_of(transfer_syntax), 0)
            return values.attributes(), Layout(data_set_offset, size, size, None)
    with memoryview(data_set) as view:
        values = _Values(view, encoding_of(transfer_syntax), data_set_offset)
        attributes = values.attributes()
        return attributes, values.layout(attributes)


def _whole(parts: Inflated) -> memoryview:
    return memoryview(parts.header + parts.trailer)


class _Values:
    """The elements found in one data set."""

    def __init__(self, view: memoryview, encoding: Encoding, base: int) -> None:
        self._view = view
        self._base = base
        self._encoding = encoding
        try:
            self._found = walk(view, encoding, fields.wanted(encoding))
        except MalformedError as error:
            raise error.moved(base) from None
        for tag in fields.DELIMITERS:
            if tag in self._found:
                raise MalformedError(tag, base + self._found[tag].at, "item or delimiter outside of a sequence")

    def _start(self, tag: int, limit: int) -> bytes | None:
        """The first bytes of a value, at most `limit`; None if the element is absent."""
        found = self._found.get(tag)
        return None if found is None else bytes(self._view[found.value : min(found.end, found.value + limit)])

    def attributes(self) -> Attributes:
        values: dict[str, Any] = {}
        for tag, (field, name) in fields.UID_FIELDS.items():
            uid = (self._start(tag, fields.LARGEST_TOKEN) or b"").decode("latin_1")
            uid = uid.rstrip("\0 ").lstrip(" ")
            if not is_uid(uid):
                raise BadDicomError(f"{name} ({tag >> 16:04X},{tag & 0xFFFF:04X}) is {_shown(uid)}")
            values[field] = uid
        terms = self._start(fields.SPECIFIC_CHARACTER_SET, fields.LARGEST_TOKEN)
        charset = DEFAULT if terms is None else charset_of(terms)
        view, found = self._view, self._found
        for tag, (field, read) in fields.TEXT_FIELDS.items():
            element = found.get(tag)
            values[field] = (
                ""
                if element is None
                else read(bytes(view[element.value : element.end][: fields.LARGEST_TEXT]), charset)
            )
        for tag, field in fields.NUMBER_FIELDS.items():
            values[field] = self._number(tag)
        return Attributes(**values)

    def _number(self, tag: int) -> int | None:
        value = self._start(tag, fields.LARGEST_CODE)
        if value is None:
            return None
        element = self._found[tag]
        vr = element.vr if element.vr not in (b"", b"UN") else (b"IS" if tag == 0x00280008 else b"US")
        return fields.read_number(value, vr, little=self._encoding.little)

    def layout(self, attributes: Attributes) -> Layout:
        base, size = self._base, self._base + len(self._view)
        pixel_tag = next((tag for tag in fields.PIXEL_TAGS if tag in self._found), None)
        if pixel_tag is None:
            return Layout(base, size, size, None)
        element = self._found[pixel_tag]
        if element.vr and element.vr not in (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN"):
            raise MalformedError(pixel_tag, base + element.at, f"pixel data with VR {element.vr!r}")
        length = element.end - element.value
        if element.fragments is None:
            frame_length = self._frame_length(attributes, pixel_tag, length)
            packed = b""
        else:
            frame_length = 0
            number = max(attributes.number_of_frames or 1, 1)
            # An offset table has an entry a frame, and a frame has a fragment: any other is of no use.
            entries = number if 1 < number <= len(element.fragments.table) // 2 else 0
            packed = frames.group(
                element.fragments,
                number,
                self._integers(*element.fragments.offset_table, "I", entries),
                self._integers_of(fields.EXTENDED_OFFSETS, entries),
                self._integers_of(fields.EXTENDED_LENGTHS, entries),
            )
        pixel = PixelLayout(base + element.value, length, frame_length, packed)
        return Layout(base, base + element.at, base + element.end, pixel)

    def _frame_length(self, attributes: Attributes, pixel_tag: int, length: int) -> int:
        rows, columns = attributes.rows or 0, attributes.columns or 0
        samples = self._number(fields.SAMPLES_PER_PIXEL) or 1
        bits = rows * columns * samples * (attributes.bits_allocated or 0)
        photometric = self._start(fields.PHOTOMETRIC_INTERPRETATION, fields.LARGEST_CODE)
        if photometric is not None and photometric.strip(b" \0") == b"YBR_FULL_422":
            bits = bits * 2 // 3  # PS3.3 C.7.6.3.1.2: two chrominance values for each two pixels
        if pixel_tag == fields.FLOAT_PIXEL_DATA:
            bits = rows * columns * 32
        elif pixel_tag == fields.DOUBLE_FLOAT_PIXEL_DATA:
            bits = rows * columns * 64
        number = attributes.number_of_frames or 1
        # A single frame may end in unused bits; frames that share a byte cannot be addressed.
        whole = number == 1 or bits % 8 == 0
        frame_length = (bits + 7) // 8 if whole else 0
        return frame_length if frame_length * number <= length else 0

    def _integers_of(self, tag: int, entries: int) -> "array[int]":
        element = self._found.get(tag)
        if element is None:
            return array("Q")
        return self._integers(element.value, element.end - element.value, "Q", entries)

    def _integers(self, start: int, length: int, kind: Literal["I", "Q"], entries: int) -> "array[int]":
        """A table's integers; none of one that has not the number of entries that is of use."""
        integers: array[int] = array(kind)
        if entries == 0 or length // integers.itemsize != entries:
            return integers
        integers.frombytes(self._view[start : start + entries * integers.itemsize])
        if self._encoding.little != (sys.byteorder == "little"):
            integers.byteswap()
        return integers
