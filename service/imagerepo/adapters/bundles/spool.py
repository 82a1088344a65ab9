"""Large instances on their way: files in scratch space that have no name, so that none is left by whoever dies.

A file is laid out as the object that it becomes (bundle.py): the instance's bytes begin at ALIGNED.
"""

import errno
import mmap
import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final

from imagerepo.adapters import disk
from imagerepo.adapters.bundles import bundle
from imagerepo.adapters.bundles.bundle import ALIGNED, Entry
from imagerepo.adapters.disk import Room
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.append import write_all
from imagerepo.errors import OutOfSpaceError, UnavailableError
from imagerepo.model.arrival import Buffer
from imagerepo.model.instance import Range

_FOLDER: Final = "spool"
_NO_ROOM: Final = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Scratch:
    """A folder for what need not survive this process."""

    path: Path
    reserve: int  # bytes of the disk that stay free
    _room: Room = field(default_factory=Room)

    def no_room(self) -> OutOfSpaceError:
        """What a sender is told when there is no room."""
        return disk.no_room(self.path)

    def has_room(self) -> bool:
        """Whether more than the reserve is free; asks the disk at most ten times a second."""
        return self._room.look(self.path, self.reserve)

    def open_file(self) -> int:
        """A descriptor of a new file without a name. Raises OSError."""
        folder = self.path / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / secrets.token_hex(12)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        path.unlink()
        return descriptor


class SpoolFile:
    """One large instance (model.arrival.Spooled)."""

    def __init__(self, scratch: Scratch) -> None:
        """Make the file. Raises UnavailableError."""
        self._scratch = scratch
        # A request that is cancelled discards the file while a thread may still write: the descriptor's number
        # could be another file's by then.
        self._lock = Lock()
        self._seal = segment_format.new_seal()
        self.size = 0
        try:
            self._descriptor: int | None = scratch.open_file()
        except OSError as error:
            raise _unavailable(error, "make a file for a large instance") from error

    def write(self, chunk: Buffer) -> None:
        """Append; blocks. Raises UnavailableError."""
        if not self._scratch.has_room():
            raise self._scratch.no_room()
        try:
            with self._lock:
                self.size += write_all(self._open(), [chunk], ALIGNED + self.size)
        except OSError as error:
            raise _unavailable(error, "write a large instance") from error

    def read(self, offset: int, length: int) -> bytes:
        """Read back; blocks."""
        with self._lock:
            return os.pread(self._open(), min(length, max(0, self.size - offset)), ALIGNED + offset)

    def map(self) -> mmap.mmap:
        """A read-only view of what was written; the caller closes it."""
        return mmap.mmap(self._open(), self.size, access=mmap.ACCESS_READ, offset=ALIGNED)

    @contextmanager
    def completed(self, entry: Entry, where: Range) -> Generator[tuple[Path, int]]:
        """The file with all that an object has, and its size in bytes. Raises UnavailableError."""
        head = bundle.head_of_one(self._seal, self.size, entry.request.crc32)
        tail = bundle.tail_of_one(self._seal, entry, where)
        try:
            with self._lock:
                # Of its own, so that the file stays whatever becomes of the request.
                descriptor = os.dup(self._open())
        except OSError as error:
            raise _unavailable(error, "write a large instance") from error
        try:
            try:
                write_all(descriptor, [head], 0)
                write_all(descriptor, [tail], ALIGNED + self.size)
            except OSError as error:
                raise _unavailable(error, "write a large instance") from error
            yield Path(f"/proc/self/fd/{descriptor}"), ALIGNED + self.size + len(tail)
        finally:
            os.close(descriptor)

    def discard(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError("the file was discarded")
        return self._descriptor


def _unavailable(error: OSError, what: str) -> UnavailableError:
    kind = OutOfSpaceError if error.errno in _NO_ROOM else UnavailableError
    return kind(f"cannot {what}: {os.strerror(error.errno or 0)}")
