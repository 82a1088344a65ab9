"""Write zip archives of stored entries whose sizes and checksums are known: nothing is computed, nothing is held back.

Pure: what stands before each entry's bytes, and what ends the archive. Its length is known before its first byte.

Source: APPNOTE.TXT 6.3.10 (.ZIP File Format Specification), sections 4.3.7, 4.3.12 and 4.3.14 to 4.3.16.
"""

import struct
from dataclasses import dataclass
from datetime import datetime
from typing import Final

_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END: Final = struct.Struct("<4sHHHHIIH")
_END64: Final = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR: Final = struct.Struct("<4sIQI")
_LARGE16: Final = 0xFFFF
_LARGE32: Final = 0xFFFFFFFF
_EXTRA64: Final = 0x0001
_STORED: Final = 0
_VERSION: Final = 10  # stored entries; 45 needs Zip64
_VERSION64: Final = 45
_UNIX: Final = 3 << 8  # made by
_FILE_MODE: Final = 0o100644 << 16
_EARLIEST: Final = 1980


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of an archive."""

    name: bytes  # ASCII, with slashes
    size: int  # bytes
    crc32: int
    modified: datetime


class Directory:
    """The archive so far. Call `add` before each entry's bytes, and `end` after the last."""

    def __init__(self) -> None:
        self._central = bytearray()
        self._count = 0
        self._offset = 0  # bytes of the archive up to the next entry

    def add(self, entry: Entry) -> bytes:
        """What stands before the entry's bytes."""
        date, time = _dos(entry.modified)
        large = entry.size >= _LARGE32
        extra = struct.pack("<HHQQ", _EXTRA64, 16, entry.size, entry.size) if large else b""
        size = _LARGE32 if large else entry.size
        version = _VERSION64 if large else _VERSION
        header = _LOCAL.pack(
            b"PK\x03\x04", version, 0, _STORED, time, date, entry.crc32, size, size, len(entry.name), len(extra)
        )
        self._enter(entry, date, time)
        local = header + entry.name + extra
        self._count += 1
        self._offset += len(local) + entry.size
        return local

    def end(self) -> bytes:
        """What stands after the last entry's bytes."""
        size, offset, count = len(self._central), self._offset, self._count
        tail = b""
        if count >= _LARGE16 or size >= _LARGE32 or offset >= _LARGE32:
            tail = _END64.pack(
                b"PK\x06\x06", _END64.size - 12, _UNIX | _VERSION64, _VERSION64, 0, 0, count, count, size, offset
            ) + _LOCATOR.pack(b"PK\x06\x07", 0, offset + size, 1)
        few, short, near = min(count, _LARGE16), min(size, _LARGE32), min(offset, _LARGE32)
        return bytes(self._central) + tail + _END.pack(b"PK\x05\x06", 0, 0, few, few, short, near, 0)

    def _enter(self, entry: Entry, date: int, time: int) -> None:
        large: list[int] = [entry.size, entry.size] if entry.size >= _LARGE32 else []
        if self._offset >= _LARGE32:
            large.append(self._offset)
        extra = struct.pack(f"<HH{len(large)}Q", _EXTRA64, 8 * len(large), *large) if large else b""
        size, offset = min(entry.size, _LARGE32), min(self._offset, _LARGE32)
        version = _VERSION64 if large else _VERSION
        self._central += _CENTRAL.pack(
            b"PK\x01\x02",
            _UNIX | version,
            version,
            0,
            _STORED,
            time,
            date,
            entry.crc32,
            size,
            size,
            len(entry.name),
            len(extra),
            0,
            0,
            0,
            _FILE_MODE,
            offset,
        )
        self._central += entry.name
        self._central += extra


class Length:
    """Adds up an archive's length without making it."""

    def __init__(self) -> None:
        self._offset = 0
        self._central = 0
        self._count = 0

    def add(self, name_length: int, size: int) -> None:
        """Take in an entry."""
        large = size >= _LARGE32
        extra = (16 if large else 0) + (8 if self._offset >= _LARGE32 else 0)
        self._central += _CENTRAL.size + name_length + (extra + 4 if extra else 0)
        self._offset += _LOCAL.size + name_length + (20 if large else 0) + size
        self._count += 1

    def total(self) -> int:
        """Bytes of the whole archive."""
        zip64 = self._count >= _LARGE16 or self._central >= _LARGE32 or self._offset >= _LARGE32
        return self._offset + self._central + (_END64.size + _LOCATOR.size if zip64 else 0) + _END.size


def _dos(moment: datetime) -> tuple[int, int]:
    """Date and time as DOS has them, to two seconds."""
    year = max(moment.year, _EARLIEST) - _EARLIEST
    date = year << 9 | moment.month << 5 | moment.day
    return date, moment.hour << 11 | moment.minute << 5 | moment.second // 2
