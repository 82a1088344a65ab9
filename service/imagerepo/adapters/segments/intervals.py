"""Audit intervals over the processes on one data folder (ports.intervals): slots in a small memory-mapped file.

Nothing in it need survive: after a restart intervals begin anew. When all slots are taken, a read is told that it is
the first, which costs an entry more.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from imagerepo.ports.intervals import Entered, State

SLOTS = 8192
_SLOT = struct.Struct("<16sdQQ")  # name, until (monotonic seconds), reads, 1 once the entry is durable
_SIZE = _SLOT.size
_FREE = bytes(16)


class SharedIntervals:
    """The intervals of a data folder, seen by one process."""

    def __init__(self, path: Path) -> None:
        """Open what `create` made."""
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(self._file, 0)
        self._threads = Lock()

    @staticmethod
    def create(path: Path) -> None:
        """Make the file, all slots free."""
        path.write_bytes(bytes(SLOTS * _SIZE))

    def enter(self, name: bytes, now: float, length: float) -> Entered:
        """Count a read."""
        with self._locked():
            over = 0
            place = self._find(name)
            if place is not None:
                _, until, reads, durable = _SLOT.unpack_from(self._map, place)
                if now < until:
                    _SLOT.pack_into(self._map, place, name, until, reads + 1, durable)
                    return Entered(State.OPEN if durable else State.OPENING, until)
                over = reads
            else:
                place = self._find(_FREE)
            if place is not None:
                _SLOT.pack_into(self._map, place, name, now + length, 1, 0)
            return Entered(State.FIRST, now + length, over)

    def opened(self, name: bytes, until: float) -> None:
        """The entry is durable."""
        with self._locked():
            place, reads = self._interval(name, until)
            if place is not None:
                _SLOT.pack_into(self._map, place, name, until, reads, 1)

    def close(self, name: bytes, until: float) -> int:
        """End an interval."""
        with self._locked():
            place, reads = self._interval(name, until)
            if place is not None:
                self._map[place : place + _SIZE] = bytes(_SIZE)
            return reads

    def _interval(self, name: bytes, until: float) -> tuple[int | None, int]:
        """Where that very interval is, and its reads."""
        place = self._find(name)
        if place is not None:
            _, found, reads, _ = _SLOT.unpack_from(self._map, place)
            if found == until:
                return place, reads
        return None, 0

    @contextmanager
    def _locked(self) -> Generator[None]:
        # The file's lock is the process's: threads need one of their own.
        with self._threads:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _find(self, name: bytes) -> int | None:
        found = self._map.find(name)
        while found >= 0 and found % _SIZE:
            found = self._map.find(name, found + 1)
        return found if found >= 0 else None
