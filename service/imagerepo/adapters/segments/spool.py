"""Files of their own for large instances, written where they will stay.

They lie in a folder of this start of the server; what no commit named by the next start is removed then.
"""

import mmap
import os
import secrets
from threading import Lock

from imagerepo.adapters.segments.append import write_all
from imagerepo.adapters.segments.place import Place
from imagerepo.adapters.segments.writer import STORE, sync_folder, unavailable
from imagerepo.model.arrival import Buffer
from imagerepo.model.instance import Range

FOLDER = "files"


class SpoolFile:
    """One large instance (model.arrival.Spooled)."""

    def __init__(self, place: Place) -> None:
        """Create the file in the folder of this start. Raises UnavailableError."""
        self._place = place
        self._data = place.data
        self._key = f"{FOLDER}/{place.start}/{secrets.token_hex(12)}.dcm"
        # A request that is cancelled discards the file while a thread may still write: the descriptor's number
        # could be another file's by then.
        self._lock = Lock()
        self.size = 0
        self._committed = False
        try:
            self._descriptor: int | None = os.open(
                self._data / self._key, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640
            )
        except OSError as error:
            raise unavailable(error, "create a file for a large instance") from error

    @property
    def where(self) -> Range:
        """The whole file."""
        return Range(STORE, self._key, 0, self.size)

    def write(self, chunk: Buffer) -> None:
        """Append; blocks. Raises UnavailableError."""
        if not self._place.has_room():
            raise self._place.no_room()
        try:
            with self._lock:
                self.size += write_all(self._open(), [chunk], self.size)
        except OSError as error:
            raise unavailable(error, "write a large instance") from error

    def read(self, offset: int, length: int) -> bytes:
        """Read back; blocks."""
        with self._lock:
            return os.pread(self._open(), length, offset)

    def map(self) -> mmap.mmap:
        """A read-only view of what was written; the caller closes it."""
        return mmap.mmap(self._open(), self.size, access=mmap.ACCESS_READ)

    def make_durable(self) -> Range:
        """Flush bytes and directory entry. Raises UnavailableError."""
        try:
            os.fsync(self._open())
            sync_folder((self._data / self._key).parent)
        except OSError as error:
            raise unavailable(error, "flush a large instance") from error
        return self.where

    def committed(self) -> None:
        """A commit names this file: it stays."""
        self._committed = True
        self.close()

    def discard(self) -> None:
        """Remove the file unless a commit names it."""
        self.close()
        if not self._committed:
            (self._data / self._key).unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _open(self) -> int:
        if self._descriptor is None:
            raise ValueError("the file was committed or discarded")
        return self._descriptor
