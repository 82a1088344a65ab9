"""Which instance a file is, from its beginning alone: what follows Series Instance UID is not looked at.

Source: PS3.10 section 7.1 (File Meta Information), PS3.5 section 7.1 (Data Elements).
"""

import zlib
from typing import Final

from imagerepo.dicom import part10
from imagerepo.dicom.encoding import DEFLATED_SYNTAXES, SHORT_VRS, Encoding, MalformedError, encoding_of
from imagerepo.dicom.sequences import ELEMENT_LIMIT, read_header, skip_value
from imagerepo.errors import BadDicomError
from imagerepo.model.arrival import Buffer
from imagerepo.model.imports import Names
from imagerepo.model.uids import is_uid

BEGINNING: Final = 132
"""Bytes that tell whether a file has a preamble."""

_DIRECTORY: Final = "1.2.840.10008.1.3.10"  # Media Storage Directory Storage: the DICOMDIR of a medium
_STUDY: Final = 0x0020000D
_SERIES: Final = 0x0020000E
_INSTANCE: Final = 0x00080018
_WANTED: Final = {_INSTANCE: "SOP Instance UID", _STUDY: "Study Instance UID", _SERIES: "Series Instance UID"}
_INFLATED: Final = 1 << 20  # bytes of a deflated data set that are looked at
_FIRST: Final = frozenset({b"\x08\0\0\0", b"\x08\0\x01\0", b"\x08\0\x05\0", b"\x08\0\x08\0", b"\x08\0\x16\0"})


def is_part10(beginning: bytes) -> bool:
    """Whether a file begins as PS3.10 says."""
    return beginning[128:BEGINNING] == b"DICM"


def is_bare(beginning: bytes) -> bool:
    """Whether a file looks like a data set without File Meta Information: group 8, with a low element."""
    return beginning[:4] in _FIRST


def is_directory(beginning: bytes) -> bool:
    """Whether a Part 10 file is a DICOMDIR. Raises BadDicomError."""
    return part10.read_meta(beginning).sop_class_uid == _DIRECTORY


def names(beginning: Buffer) -> Names | None:
    """The UIDs of a Part 10 file; None: they lie beyond what was given.

    Raises:
        BadDicomError: it has none, or is damaged before them.
    """
    meta = part10.read_meta(beginning)
    encoding = encoding_of(meta.transfer_syntax)
    with memoryview(beginning) as view, view[meta.data_set_offset :] as data_set:
        if meta.transfer_syntax not in DEFLATED_SYNTAXES:
            return _names(data_set, encoding)
        try:
            inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data_set, _INFLATED)
        except zlib.error as error:
            raise BadDicomError(f"deflated data set: not a deflate stream: {error}") from None
    return _names(memoryview(inflated), encoding)


def _names(view: memoryview, encoding: Encoding) -> Names | None:
    found, complete = _find(view, encoding)
    if not complete and len(found) < len(_WANTED):
        return None
    for tag, name in _WANTED.items():
        if not is_uid(found.get(tag, "")):
            raise BadDicomError(f"{name} ({tag >> 16:04X},{tag & 0xFFFF:04X}) is missing, or no UID")
    return Names(found[_STUDY], found[_SERIES], found[_INSTANCE])


def _find(view: memoryview, encoding: Encoding) -> tuple[dict[int, str], bool]:
    """UIDs by tag, and whether something was seen that stands behind them all."""
    found: dict[int, str] = {}
    end, pos = len(view), 0
    for _ in range(ELEMENT_LIMIT):
        if pos + 8 > end:
            break
        raw, vr, length = encoding.short_header(view, pos)
        tag = encoding.tag(raw)
        if tag > _SERIES:
            return found, True
        try:
            if encoding.explicit and vr in SHORT_VRS:
                value, after = pos + 8, pos + 8 + length
            else:
                header = read_header(view, pos, end, encoding)
                value = header.value
                after, _fragments = skip_value(view, pos, tag, header, end)
        except MalformedError:
            break  # it may only be cut off here
        if after > end:
            break
        if tag in _WANTED:
            found[tag] = str(view[value : min(after, value + 256)], "latin_1").strip(" \0")
        pos = after
    return found, False
