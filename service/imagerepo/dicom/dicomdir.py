"""Write a DICOMDIR: the directory of a file-set, made from DICOM JSON while its files go by.

Records are appended as instances come; what points to a record is filled in as soon as that is known. Required keys
that an instance lacks are made up, as media readers refuse a directory without them: numbers by counting, the rest
from MADE_UP.

Source: PS3.10 section 8 (DICOM File Service), PS3.3 F.3 (Basic Directory IOD), F.5 (Directory Records).
"""

import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Final

from imagerepo.dicom import part10
from imagerepo.dicom.directory_keys import KEYS, NUMBERED, PATIENT, SERIES, STUDY, record_type
from imagerepo.dicom.encoding import LONG_VRS
from imagerepo.model.instance import Version
from imagerepo.model.uids import Uid

FILE_LIMIT: Final = 100_000
"""Files of one file-set: its directory, some 400 bytes a file, is held in memory."""

MADE_UP: Final = {
    "00100010": "",
    "00080050": "",
    "00081030": "",
    "300A0006": "",
    "300A0007": "",
    "30060008": "",
    "30060009": "",
    "30080250": "",
    "30080251": "",
    "00420010": "",
    "00080020": "19000101",
    "00080030": "000000",
    "00080023": "19000101",
    "00080033": "000000",
    "00080060": "OT",
    "00100020": "UNKNOWN",
    "00200010": "1",
    "00700080": "UNNAMED",
    "00700082": "19000101",
    "00700083": "000000",
    "30040002": "PLAN",
    "30060002": "UNNAMED",
    "300A0002": "UNNAMED",
    "00420012": "application/octet-stream",
    "0040A491": "PARTIAL",
    "0040A493": "UNVERIFIED",
}
"""Of keys of type 2, which may be empty, and of type 1, by tag."""

_CLASS: Final = Uid("1.2.840.10008.1.3.10")  # Media Storage Directory Storage
_EXPLICIT_LITTLE: Final = Uid("1.2.840.10008.1.2.1")
_ENTRY: Final = struct.Struct("<I")
_NEXT: Final = 16  # bytes from a record's item tag to the value of its pointer to the next record
_LOWER: Final = 38  # likewise to the record below
_IN_USE: Final = 0xFFFF
_NUMBER_FORMATS: Final = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i"}
_DICOM_MAXIMUM: Final = 0xFFFE

DataSet = Mapping[str, Any]
"""One DICOM JSON object, its numbers as text."""


def read_document(document: bytes) -> DataSet:
    """DICOM JSON as `DicomDir.add` wants it."""
    found: DataSet = json.loads(document, parse_float=str, parse_int=str)
    return found


class _Chain:
    """Records of one level, each pointing to the next."""

    def __init__(self, content: bytearray, above: int) -> None:
        self._content = content
        self._pointer = above  # where the place of the next record is written
        self.first = self.last = 0

    def add(self, place: int) -> None:
        """Go on with the record at `place`."""
        if self._pointer:
            _ENTRY.pack_into(self._content, self._pointer, place)
        self.first = self.first or place
        self.last = place
        self._pointer = place + _NEXT


class DicomDir:
    """The directory of one patient's one study."""

    def __init__(self, instance_uid: Uid) -> None:
        """Begin; `instance_uid` is the directory's own."""
        meta = part10.make_meta(_CLASS, instance_uid, _EXPLICIT_LITTLE, "")
        self._content = bytearray(meta)
        self._content += _element("00041130", "CS", b"")
        self._first = len(self._content) + 8
        self._content += _element("00041200", "UL", bytes(4))
        self._last = len(self._content) + 8
        self._content += _element("00041202", "UL", bytes(4))
        self._content += _element("00041212", "US", bytes(2))
        self._length = len(self._content) + 8
        self._content += _element("00041220", "SQ", b"")
        self._start = len(self._content)
        self._patients = _Chain(self._content, 0)
        self._series = _Chain(self._content, 0)
        self._instances = _Chain(self._content, 0)
        self._series_uid = ""
        self._series_count = 0
        self._count = 0

    def add(self, version: Version, data_set: DataSet, file_id: Sequence[str]) -> None:
        """Take in one file; those of a series follow each other.

        Args:
            version: what the file holds.
            data_set: its header.
            file_id: the components of its name below the DICOMDIR.
        """
        if not self._patients.first:
            self._begin(data_set)
        if version.series_uid != self._series_uid:
            self._series_uid = version.series_uid
            self._series_count += 1
            self._count = 0
            place = self._record("SERIES", _keys(data_set, SERIES, self._series_count))
            self._series.add(place)
            self._instances = _Chain(self._content, place + _LOWER)
        self._count += 1
        kind = record_type(version.sop_class_uid)
        reference = (
            ("00041500", "CS", "\\".join(file_id)),
            ("00041510", "UI", version.sop_class_uid),
            ("00041511", "UI", version.instance_uid),
            ("00041512", "UI", version.transfer_syntax),
        )
        pointed = b"".join(_element(tag, vr, _padded(vr, text.encode("ascii"))) for tag, vr, text in reference)
        self._instances.add(self._record(kind, _keys(data_set, KEYS[kind], self._count), pointed))

    def end(self) -> bytes:
        """The file."""
        content = self._content
        _ENTRY.pack_into(content, self._first, self._patients.first)
        _ENTRY.pack_into(content, self._last, self._patients.last)
        _ENTRY.pack_into(content, self._length, len(content) - self._start)
        return bytes(content)

    def _begin(self, data_set: DataSet) -> None:
        patient = self._record("PATIENT", _keys(data_set, PATIENT, 1))
        self._patients.add(patient)
        study = self._record("STUDY", _keys(data_set, STUDY, 1))
        _Chain(self._content, patient + _LOWER).add(study)
        self._series = _Chain(self._content, study + _LOWER)

    def _record(self, kind: str, keys: bytes, reference: bytes = b"") -> int:
        """Append a record; its place in the file."""
        place = len(self._content)
        record = b"".join(
            (
                _element("00041400", "UL", bytes(4)),
                _element("00041410", "US", struct.pack("<H", _IN_USE)),
                _element("00041420", "UL", bytes(4)),
                _element("00041430", "CS", _padded("CS", kind.encode())),
                reference,
                # Text of another set than ASCII needs to say so in each record (PS3.3 Table F.3-3).
                b"" if keys.isascii() else _element("00080005", "CS", b"ISO_IR 192"),
                keys,
            )
        )
        self._content += struct.pack("<HHI", 0xFFFE, 0xE000, len(record)) + record
        return place


def _keys(data_set: DataSet, tags: Sequence[str], count: int) -> bytes:
    """The elements of these tags; those that are required and missing made up."""
    found: list[bytes] = []
    for tag in tags:
        element = _of_member(tag, data_set.get(tag))
        if element is None:
            text = str(count) if tag in NUMBERED else MADE_UP.get(tag)
            if text is None:
                continue
            element = _element(tag, _VRS[tag], _padded(_VRS[tag], text.encode()))
        found.append(element)
    return b"".join(found)


# Of keys that are made up.
_VRS: Final = {
    **dict.fromkeys(("00080020", "00080023", "00700082", "300A0006", "30060008", "30080250"), "DA"),
    **dict.fromkeys(("00080030", "00080033", "00700083", "300A0007", "30060009", "30080251"), "TM"),
    **dict.fromkeys(("00080060", "00700080", "30040002", "0040A491", "0040A493"), "CS"),
    **dict.fromkeys(("00100020", "00420012", "00081030"), "LO"),
    **dict.fromkeys(("00200010", "30060002", "300A0002", "00080050"), "SH"),
    **dict.fromkeys(NUMBERED, "IS"),
    "00100010": "PN",
    "00420010": "ST",
}


def _of_member(tag: str, member: Mapping[str, Any] | None) -> bytes | None:
    """An element as JSON has it; None if it is absent, empty or given by reference."""
    if member is None:
        return None
    vr: str = member["vr"]
    values: Sequence[Any] = member.get("Value", ())
    if not values:
        return None
    if vr == "SQ":
        return _element(tag, vr, b"".join(_item(one) for one in values))
    number = _NUMBER_FORMATS.get(vr)
    if number is not None:
        return _element(tag, vr, b"".join(struct.pack(number, int(one)) for one in values))
    if vr.encode() in LONG_VRS or vr in {"AT", "FL", "FD"}:
        return None
    texts = (_name(one) if vr == "PN" else str(one or "") for one in values)
    return _element(tag, vr, _padded(vr, "\\".join(texts).encode("utf-8", "replace")))


def _item(data_set: DataSet) -> bytes:
    elements = b"".join(_of_member(tag, member) or b"" for tag, member in data_set.items() if tag != "00080005")
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(elements)) + elements


def _name(groups: Mapping[str, str] | None) -> str:
    named = groups or {}
    return "=".join(named.get(one, "") for one in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")


def _padded(vr: str, value: bytes) -> bytes:
    return value + (b"\0" if vr == "UI" else b" ") if len(value) % 2 else value


def _element(tag: str, vr: str, value: bytes) -> bytes:
    start = struct.pack("<HH2s", int(tag[:4], 16), int(tag[4:], 16), vr.encode())
    if vr.encode() in LONG_VRS:
        return start + struct.pack("<xxI", len(value)) + value
    return start + struct.pack("<H", min(len(value), _DICOM_MAXIMUM)) + value[:_DICOM_MAXIMUM]
