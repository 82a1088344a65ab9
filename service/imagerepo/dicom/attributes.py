"""Which elements the index keeps, and how their values are read.

Source: PS3.5 section 6.2 (Value Representation).
"""

import re
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Final

from imagerepo.dicom import dictionary
from imagerepo.dicom.charset import DEFAULT, Charset, decode, decode_name
from imagerepo.dicom.encoding import ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER, Encoding

SPECIFIC_CHARACTER_SET: Final = 0x00080005
UID_FIELDS: Final = {
    0x0020000D: ("study_uid", "Study Instance UID"),
    0x0020000E: ("series_uid", "Series Instance UID"),
    0x00080018: ("instance_uid", "SOP Instance UID"),
    0x00080016: ("sop_class_uid", "SOP Class UID"),
}


NUMBER_FIELDS: Final = {
    0x00280008: "number_of_frames",
    0x00280010: "rows",
    0x00280011: "columns",
    0x00280100: "bits_allocated",
}

# What the layout of pixel data follows from, besides.
SAMPLES_PER_PIXEL: Final = 0x00280002
PHOTOMETRIC_INTERPRETATION: Final = 0x00280004
EXTENDED_OFFSETS: Final = 0x7FE00001
EXTENDED_LENGTHS: Final = 0x7FE00002
FLOAT_PIXEL_DATA: Final = 0x7FE00008
DOUBLE_FLOAT_PIXEL_DATA: Final = 0x7FE00009
PIXEL_DATA: Final = 0x7FE00010
DELIMITERS: Final = (ITEM, ITEM_DELIMITER, SEQUENCE_DELIMITER)
"""Found at the top level they are out of place."""
PIXEL_TAGS: Final = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_FLOAT_PIXEL_DATA)

LARGEST_TEXT: Final = 4096
"""Bytes of a value that are indexed; the standard's longest are 64 characters. A value is cut before it is copied:
in implicit VR any may claim gigabytes."""
LARGEST_TOKEN: Final = 256
"""Likewise of UIDs and character sets."""
LARGEST_CODE: Final = 64
"""Likewise of numbers and codes, whose meaning lies in their first value."""

_REMEMBERED: Final = 512
"""Values of each kind kept decoded: those of a study come with each of its instances."""

_INTEGER: Final = re.compile(rb"[ \0]*([+-]?[0-9]{1,10})(?:\.0*)?[ \0]*\Z")


def _strip(text: str) -> str:
    if "\\" not in text:
        return text.strip(" \0")
    return "\\".join(value.strip(" \0") for value in text.split("\\")).rstrip("\\")


@lru_cache(maxsize=_REMEMBERED)
def read_code(value: bytes, charset: Charset) -> str:
    """CS, DA, TM and IS, which keep to the default repertoire (PS3.5 6.1.2.2), as the index keeps them."""
    del charset
    return _strip(decode(value, DEFAULT))


@lru_cache(maxsize=_REMEMBERED)
def read_plain(value: bytes, charset: Charset) -> str:
    """Text as the index keeps it: decoded, its values without padding, joined by a backslash."""
    return _strip(decode(value, charset))


@lru_cache(maxsize=_REMEMBERED)
def read_name(value: bytes, charset: Charset) -> str:
    """Likewise a person name; empty component groups at its end say nothing (PS3.5 6.2.1)."""
    text = _strip(decode_name(value, charset))
    return "\\".join(name.rstrip("= ") for name in text.split("\\")) if "=" in text else text


TEXT_FIELDS: Final[Mapping[int, tuple[str, Callable[[bytes, Charset], str]]]] = {
    0x00080020: ("study_date", read_code),
    0x00080030: ("study_time", read_code),
    0x00080050: ("accession_number", read_plain),
    0x00080060: ("modality", read_code),
    0x00080090: ("referring_physician_name", read_name),
    0x00080201: ("timezone_offset", read_code),
    0x00081030: ("study_description", read_plain),
    0x0008103E: ("series_description", read_plain),
    0x00100010: ("patient_name", read_name),
    0x00100020: ("patient_id", read_plain),
    0x00100021: ("issuer_of_patient_id", read_plain),
    0x00100030: ("patient_birth_date", read_code),
    0x00100040: ("patient_sex", read_code),
    0x00180015: ("body_part", read_code),
    0x00200010: ("study_id", read_plain),
    0x00200011: ("series_number", read_code),
    0x00200013: ("instance_number", read_code),
    0x00400244: ("performed_step_date", read_code),
    0x00400245: ("performed_step_time", read_code),
}
"""Tag -> field of model.instance.Attributes, and how it is read."""


_INDEXED: Final = frozenset(
    {*UID_FIELDS, *TEXT_FIELDS, *NUMBER_FIELDS, SPECIFIC_CHARACTER_SET, SAMPLES_PER_PIXEL}
    | {PHOTOMETRIC_INTERPRETATION, EXTENDED_OFFSETS, EXTENDED_LENGTHS, *PIXEL_TAGS}
    | {*DELIMITERS}
)


@cache
def wanted(encoding: Encoding) -> Mapping[int, int]:
    """Raw tag -> tag, of what ingest looks for."""
    return {encoding.tag(tag): tag for tag in _INDEXED}


def read_number(value: bytes, vr: bytes, *, little: bool) -> int | None:
    """The first number of a US, UL or IS value; None if it is not a number or negative."""
    if vr == b"US" and len(value) >= 2:
        return int.from_bytes(value[:2], "little" if little else "big")
    if vr == b"UL" and len(value) >= 4:
        return int.from_bytes(value[:4], "little" if little else "big")
    if vr == b"IS":
        match = _INTEGER.match(value[:64].split(b"\\")[0])
        if match:
            number = int(match[1])
            return number if number >= 0 else None
    return None


def lookup(name: str) -> tuple[str, str] | None:
    """A keyword or tag, as a query names an attribute, as (tag, VR).

    Args:
        name: "PatientName" or "00100010".

    Returns:
        ("00100010", "PN"); of an ambiguous VR its first; None for what the dictionary does not know.

    Source: PS3.18 section 8.3.4.1 (Attribute Matching).
    """
    tag = dictionary.tag_of(name)
    if tag is None and re.fullmatch("[0-9A-Fa-f]{8}", name):
        tag = int(name, 16)
    vr = dictionary.vr_of(tag) if tag is not None else None
    if tag is None or vr is None:
        return None
    return f"{tag:08X}", vr[:2]


def keyword(tag: str) -> str | None:
    """The keyword of a tag: "00100010" -> "PatientName"; None if the dictionary does not know it."""
    return dictionary.keyword_of(int(tag, 16)) if re.fullmatch("[0-9A-Fa-f]{8}", tag) else None
