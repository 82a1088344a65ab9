"""What the processes on one data folder share: the lock, the commit number, and which instances are in flight.

A small memory-mapped file that the parent makes anew at each start; nothing in it need survive. An instance is in
flight from when its version number is given until its row is visible, so that no two get the same number.

A deletion concerns what earlier commits stored. Nothing of its study may be in flight when it gets its number, and
nothing may take off until its rows are gone: so its study is marked, and the studies of instances in flight are.
"""

import fcntl
import mmap
import os
import struct
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Self

from blake3 import blake3

from imagerepo.ports.index import POSITIONS_A_COMMIT

SLOTS = POSITIONS_A_COMMIT  # instances that one writer may have in flight: those of one commit
MARKS = 2 * SLOTS  # those instances and their studies
MARK = 16  # bytes of a mark
_HEAD = struct.Struct("<Q")  # the last commit number given
_COUNT = struct.Struct("<Q")  # marks in a region, which begins with it
_NUMBER = struct.Struct("<Q")  # of the commit that is in flight, behind it; 0: none is
_REGION = MARK + MARKS * MARK  # bytes of each writer
_BEGIN = 64
_REMEMBERED = 256  # marks of studies: most commits are of those of the commits before


def mark(institution: str, instance_uid: str) -> bytes:
    """The name of an instance in flight."""
    return blake3(f"{institution}\0{instance_uid}".encode()).digest(MARK)


@lru_cache(_REMEMBERED)
def growing(institution: str, study_uid: str) -> bytes:
    """The mark of a study of which instances are in flight."""
    return blake3(f"{institution}\0{study_uid}\0growing".encode()).digest(MARK)


@lru_cache(_REMEMBERED)
def changing(institution: str, study_uid: str) -> bytes:
    """The mark of a study that is being changed: something of it is deleted, or a hold is set or lifted."""
    return blake3(f"{institution}\0{study_uid}\0changing".encode()).digest(MARK)


class Numbers:
    """One writer's view of the shared state. For one thread at a time."""

    def __init__(self, path: Path, place: int) -> None:
        """Open the state that `create` made; `place` numbers the writers from 0."""
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(self._file, 0)
        self._start = _BEGIN + place * _REGION
        self._others = [at for at in range(_BEGIN, len(self._map), _REGION) if at != self._start]

    @staticmethod
    def create(path: Path, writers: int, last_commit: int) -> None:
        """Make the state for so many writers."""
        with path.open("wb") as file:
            # Written out, not truncated to size: a hole that a full disk cannot fill would kill who writes to the map.
            file.write(_HEAD.pack(last_commit).ljust(_BEGIN + writers * _REGION, b"\0"))

    def close(self) -> None:
        """Let go of the state."""
        self._map.close()
        os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def locked(self) -> Generator[None]:
        """Hold the lock of the data folder; the kernel lets go of it if this process dies."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def next_commit(self) -> int:
        """Give the next commit number; under the lock."""
        number = _HEAD.unpack_from(self._map)[0] + 1
        _HEAD.pack_into(self._map, 0, number)
        _NUMBER.pack_into(self._map, self._start + _COUNT.size, number)
        return number

    def visible(self) -> int:
        """The last number up to which no commit is in flight: each has its rows, or never will; under the lock."""
        starts = range(_BEGIN, len(self._map), _REGION)
        numbers = (_NUMBER.unpack_from(self._map, start + _COUNT.size)[0] for start in starts)
        return min((number - 1 for number in numbers if number), default=_HEAD.unpack_from(self._map)[0])

    def in_flight_elsewhere(self, name: bytes) -> bool:
        """Whether another writer has set that mark; under the lock."""
        for start in self._others:
            begin, count = start + MARK, _COUNT.unpack_from(self._map, start)[0]
            found = self._map.find(name, begin, begin + count * MARK) if count else -1
            while found >= 0:
                if (found - begin) % MARK == 0:
                    return True
                found = self._map.find(name, found + 1, begin + count * MARK)
        return False

    def take_off(self, names: Iterable[bytes]) -> None:
        """Set these marks, and no others; under the lock. At most MARKS."""
        packed = b"".join(names)
        begin = self._start + MARK
        self._map[begin : begin + len(packed)] = packed
        _COUNT.pack_into(self._map, self._start, len(packed) // MARK)

    def land(self) -> None:
        """Have nothing in flight; under the lock, or when this writer is known to be dead."""
        _COUNT.pack_into(self._map, self._start, 0)
        _NUMBER.pack_into(self._map, self._start + _COUNT.size, 0)
