"""The bytes of a segment, format version 1; docs/format.md is its description, change both together.

A segment is a header, then records one after another. A record is a header and its payload:

- data: one Part 10 file, exactly as received;
- commit: journal lines that name data records (of this segment) or files; see lines.py.

Data that no whole commit record names do not exist.

Every record bears its segment's seal, random bytes that senders never see: what they send, found behind the torn
header of a record, cannot pass for a record.
"""

import os
import secrets
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from imagerepo.errors import DamagedError
from imagerepo.model import checksum

VERSION = 1
SUFFIX = ".seg"

_SEGMENT = struct.Struct("<8sI16sQ8s16xI")  # magic, version, writer, number, seal, CRC-32 of what precedes
_SEGMENT_MAGIC = b"IRsegmnt"
SEGMENT_HEADER = _SEGMENT.size  # 64 bytes

_RECORD = struct.Struct("<8sQQI8sI")  # magic, payload length, commit number, payload CRC-32, seal, header CRC-32
RECORD_HEADER = _RECORD.size  # 40 bytes
_RECORD_CHECKED = _RECORD.size - 4
_BEFORE_SEAL = 28  # bytes of a record header
_PIECE = 4 << 20  # bytes read at a time
_SEARCH = 1 << 20  # bytes looked through at a time for the next record after damage


class Kind(Enum):
    """What a record holds."""

    DATA = b"IRdata01"
    COMMIT = b"IRcommit"


_KINDS = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Record:
    """A record's header, found whole."""

    kind: Kind
    offset: int  # of the header, in bytes from the segment's first byte
    length: int  # bytes of the payload
    number: int  # commit number; 0 for data
    crc32: int  # of the payload

    @property
    def payload(self) -> int:
        """Offset of the payload."""
        return self.offset + RECORD_HEADER

    @property
    def end(self) -> int:
        """Offset of the first byte after the record."""
        return self.offset + RECORD_HEADER + self.length


def segment_name(writer: str, number: int) -> str:
    """The file name of a writer's segment."""
    return f"{writer}-{number:08d}{SUFFIX}"


def parse_segment_name(name: str) -> tuple[str, int]:
    """Writer and number from a file name; ValueError if it is none of ours."""
    writer, _, number = name.removesuffix(SUFFIX).rpartition("-")
    if not writer or not name.endswith(SUFFIX):
        raise ValueError(f"{name!r} is not the name of a segment")
    return writer, int(number)


def new_seal() -> bytes:
    """A seal for a new segment: 8 random bytes."""
    return secrets.token_bytes(8)


def segment_header(writer: str, number: int, seal: bytes) -> bytes:
    """The first bytes of a segment; a writer's name has at most 16 bytes."""
    head = _SEGMENT.pack(_SEGMENT_MAGIC, VERSION, writer.encode(), number, seal, 0)[:-4]
    return head + checksum.crc32(head, 0).to_bytes(4, "little")


def is_whole_header(head: bytes) -> bool:
    """Whether a segment's header is all there, of whatever version."""
    if len(head) < SEGMENT_HEADER or not head.startswith(_SEGMENT_MAGIC):
        return False
    return checksum.crc32(head[: SEGMENT_HEADER - 4], 0).to_bytes(4, "little") == head[SEGMENT_HEADER - 4 :]


def check_segment_header(head: bytes, name: str) -> bytes:
    """The seal of the segment that the whole header `head` begins. Raises DamagedError if it is of another version."""
    _, version, _, _, seal, _ = _SEGMENT.unpack_from(head)
    if version != VERSION:
        raise DamagedError(f"{name} has format version {version}; this program reads version {VERSION}")
    return seal


def record_header(kind: Kind, seal: bytes, length: int, number: int, crc32: int) -> bytes:
    """The header of a record whose payload is `length` bytes with that checksum."""
    head = _RECORD.pack(kind.value, length, number, crc32, seal, 0)[:_RECORD_CHECKED]
    return head + checksum.crc32(head, 0).to_bytes(4, "little")


def seal_in(head: bytes) -> bytes:
    """The seal that a record's header bears."""
    return head[_BEFORE_SEAL:_RECORD_CHECKED]


def parse_record(head: bytes, seal: bytes, offset: int) -> Record | None:
    """The record whose header `head` is, or None if it is no whole header under that seal."""
    if len(head) < RECORD_HEADER:
        return None
    magic, length, number, crc32, sealed, header_crc32 = _RECORD.unpack_from(head)
    kind = _KINDS.get(magic)
    if kind is None or sealed != seal or checksum.crc32(head[:_RECORD_CHECKED], 0) != header_crc32:
        return None
    return Record(kind, offset, length, number, crc32)


def records(descriptor: int, seal: bytes, start: int, size: int) -> Iterator[Record]:
    """Whole records under that seal from offset `start` on, in order; what is damaged between them is passed over.

    A header is whole if its checksum holds and its payload ends within `size`; payloads are not read.
    """
    offset = max(start, SEGMENT_HEADER)
    while offset + RECORD_HEADER <= size:
        record = parse_record(os.pread(descriptor, RECORD_HEADER, offset), seal, offset)
        if record is not None and record.end <= size:
            yield record
            offset = record.end
        else:
            offset = _next_record(descriptor, seal, offset + 1, size)


def _next_record(descriptor: int, seal: bytes, offset: int, size: int) -> int:
    """Where the next header may be: the next place that bears the seal, less what precedes it."""
    start = offset + _BEFORE_SEAL
    while start < size:
        window = os.pread(descriptor, _SEARCH, start)
        hit = window.find(seal)
        if hit >= 0:
            return start + hit - _BEFORE_SEAL
        if len(window) < _SEARCH:
            break
        start += len(window) - len(seal) + 1
    return size


def read_payload(descriptor: int, record: Record) -> bytes | None:
    """A record's payload, or None if it does not have the checksum that its header says."""
    payload = os.pread(descriptor, record.length, record.payload)
    return payload if len(payload) == record.length and checksum.crc32(payload, 0) == record.crc32 else None


def checksum_of(descriptor: int, parts: Iterable[tuple[int, int]]) -> int | None:
    """CRC-32 of the parts (offset, length) in order, read in pieces; None if one ends after the segment does."""
    crc32 = 0
    for offset, length in parts:
        end = offset + length
        while offset < end:
            piece = os.pread(descriptor, min(_PIECE, end - offset), offset)
            if not piece:
                return None
            crc32 = checksum.crc32(piece, crc32)
            offset += len(piece)  # noqa: PLW2901 - the part's start moves on
    return crc32
