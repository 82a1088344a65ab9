"""DICOM files made byte by byte: whoever sends them knows every byte that must come back."""

import hashlib
import random
import struct
from dataclasses import dataclass, field

CT = "1.2.840.10008.5.1.4.1.1.2"
MULTI_FRAME = "1.2.840.10008.5.1.4.1.1.7.2"  # Multi-frame Grayscale Byte Secondary Capture
EXPLICIT = "1.2.840.10008.1.2.1"
ROOT = "1.2.826.0.1.3680043.10.1200"
PREAMBLE = bytes(128) + b"DICM"
_LONG = {"OB", "OW", "SQ", "UN", "UT"}


def element(tag: int, vr: str, value: str | bytes) -> bytes:
    """One element, explicit VR little endian."""
    if isinstance(value, str):
        value = value.encode()
        value += (b"\0" if vr == "UI" else b" ") * (len(value) % 2)
    return head(tag, vr, len(value)) + value


def head(tag: int, vr: str, length: int) -> bytes:
    """An element without its value."""
    start = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr.encode())
    return start + (struct.pack("<xxI", length) if vr in _LONG else struct.pack("<H", length))


@dataclass(frozen=True)
class DicomFile:
    """One instance; text attributes by tag override those that every file has."""

    study: str
    series: str
    instance: str
    pixels: bytes
    attributes: dict[int, tuple[str, str]] = field(default_factory=dict)
    sop_class: str = CT

    @property
    def data_set(self) -> bytes:
        """The bytes that must come back, whatever the way in."""
        return self.header + element(0x7FE00010, "OW", self.pixels)

    @property
    def header(self) -> bytes:
        """The data set up to pixel data."""
        values = {
            0x00080016: ("UI", self.sop_class), 0x00080018: ("UI", self.instance), 0x00080020: ("DA", "20240131"),
            0x00080030: ("TM", "101500"), 0x00080050: ("SH", "ACC1"), 0x00080060: ("CS", "CT"),
            0x00100010: ("PN", "DOE^JANE"), 0x00100020: ("LO", "P1"), 0x0020000D: ("UI", self.study),
            0x0020000E: ("UI", self.series),
        }  # fmt: skip
        values.update(self.attributes)
        rows = 16 if len(self.pixels) < 1 << 20 else 4096
        us = {0x00280010: rows, 0x00280011: len(self.pixels) // (2 * rows), 0x00280100: 16}
        parts = [(tag, element(tag, *value)) for tag, value in values.items()]
        parts += [(tag, element(tag, "US", struct.pack("<H", value))) for tag, value in us.items()]
        return b"".join(part for _, part in sorted(parts))

    @property
    def part10(self) -> bytes:
        """The file."""
        return meta(self.sop_class, self.instance) + self.data_set


def meta(sop_class: str, instance: str) -> bytes:
    """Preamble and File Meta Information."""
    group = b"".join(
        [
            element(0x00020001, "OB", b"\0\1"),
            element(0x00020002, "UI", sop_class),
            element(0x00020003, "UI", instance),
            element(0x00020010, "UI", EXPLICIT),
            element(0x00020012, "UI", "1.2.3"),
        ]
    )
    return PREAMBLE + element(0x00020000, "UL", struct.pack("<I", len(group))) + group


def data_set_of(part10: bytes) -> bytes:
    """What follows group 2 in a file whose group length is right."""
    (length,) = struct.unpack_from("<I", part10, 140)
    return part10[144 + length :]


def uid(*numbers: int) -> str:
    """A UID below the tests' root."""
    return ".".join([ROOT, *map(str, numbers)])


def ct(number: int, *, study: int = 1, series: int = 1, size: int = 2048, variant: int = 0) -> DicomFile:
    """Instance `number` of a series; incompressible pixels that differ by `variant`."""
    pixels = random.Random(hash((number, study, variant))).randbytes(size // 32 * 32)
    return DicomFile(uid(study), uid(study, series), uid(study, series, number), pixels)


def large_header(frames: int, *, rows: int = 512, columns: int = 512, instance: str = "") -> tuple[str, bytes]:
    """Instance UID and data set, up to the pixel data's first byte, of 8 bit frames that are not held in memory."""
    instance = instance or uid(9, 9, frames)
    made = DicomFile(uid(9), uid(9, 9), instance, b"", {0x00280008: ("IS", str(frames))}, MULTI_FRAME)
    us = {0x00280002: 1, 0x00280010: rows, 0x00280011: columns, 0x00280100: 8}
    kept = made.header[: made.header.index(head(0x00280010, "US", 2))]
    at = kept.index(head(0x00280008, "IS", len(str(frames)) + len(str(frames)) % 2))
    numbers = [element(tag, "US", struct.pack("<H", value)) for tag, value in us.items()]
    pixel = head(0x7FE00010, "OW", frames * rows * columns)
    return instance, kept[:at] + numbers[0] + element(0x00280004, "CS", "MONOCHROME2") + kept[at:] + b"".join(
        numbers[1:]
    ) + pixel


def frame(number: int, size: int = 512 * 512) -> bytes:
    """A frame's bytes, cheap to make and different from every other."""
    return hashlib.sha256(str(number).encode()).digest() * (size // 32)
