"""The data dictionary (PS3.6) as lean lookups, taken from pydicom's tables on first use."""

import re
from functools import cache

from imagerepo.dicom.encoding import Encoding


@cache
def _vrs() -> dict[int, str]:
    from pydicom._dicom_dict import DicomDictionary  # noqa: PLC0415 - 5,000 entries, on first use

    return {tag: str(entry[0]) for tag, entry in DicomDictionary.items()}


@cache
def _repeaters() -> tuple[tuple[int, int, str], ...]:
    """(mask, tag under the mask, VR) of the repeating groups and elements, as (60xx,3000)."""
    from pydicom._dicom_dict import RepeatersDictionary  # noqa: PLC0415 - on first use

    return tuple(
        (
            int(re.sub("[0-9A-Fa-f]", "F", pattern).replace("x", "0"), 16),
            int(pattern.replace("x", "0"), 16),
            str(entry[0]),
        )
        for pattern, entry in RepeatersDictionary.items()
    )


@cache
def _private() -> dict[str, dict[str, str]]:
    from pydicom._private_dict import private_dictionaries  # noqa: PLC0415 - on first use

    return {
        creator: {pattern: str(entry[0]) for pattern, entry in entries.items()}
        for creator, entries in private_dictionaries.items()
    }


def vr_of(tag: int) -> str | None:
    """The VR of a standard element, ambiguous ones as "US or SS"; None if unknown or private."""
    vr = _vrs().get(tag)
    if vr is not None or tag >> 16 & 1:
        return vr
    for mask, masked, repeated in _repeaters():
        if tag & mask == masked:
            return repeated
    return None


def private_vr_of(tag: int, creator: str) -> str | None:
    """The VR of a private element (PS3.5 section 7.8) within its creator's block."""
    entries = _private().get(creator)
    if entries is None:
        return None
    shown = f"{tag:08x}"
    return entries.get(f"{shown[:4]}xx{shown[6:]}") or entries.get(shown)


@cache
def sequence_tags(encoding: Encoding) -> frozenset[int]:
    """The raw tags whose VR is SQ: what has to be known to walk implicit VR."""
    return frozenset(encoding.tag(tag) for tag, vr in _vrs().items() if vr == "SQ")


@cache
def _tags_by_keyword() -> dict[str, int]:
    from pydicom._dicom_dict import DicomDictionary  # noqa: PLC0415 - on first use

    return {str(entry[4]): tag for tag, entry in DicomDictionary.items() if entry[4]}


@cache
def _keywords() -> dict[int, str]:
    return {tag: keyword for keyword, tag in _tags_by_keyword().items()}


def tag_of(keyword: str) -> int | None:
    """The tag that a keyword names, as PatientName does 0x00100010."""
    return _tags_by_keyword().get(keyword)


def keyword_of(tag: int) -> str | None:
    """The keyword of a tag."""
    return _keywords().get(tag)
