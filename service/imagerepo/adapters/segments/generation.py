"""How often bytes of what was deleted began to be given back: whoever reads can tell that they may be gone by now.

Eight bytes in the run folder. They grow before the first byte goes, so that bytes read while they stayed the same are
those that were stored.
"""

import mmap
import os
import struct
from pathlib import Path

RUN = "run"
FILE = "reclaimed"
_COUNT = struct.Struct("<Q")


def create(path: Path) -> None:
    """Begin to count, at 0."""
    path.write_bytes(_COUNT.pack(0))


class Generation:
    """The count, shared by the processes of a server; always 0 where none runs."""

    def __init__(self, path: Path) -> None:
        self._map: mmap.mmap | None = None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return
        try:
            self._map = mmap.mmap(descriptor, _COUNT.size)
        finally:
            os.close(descriptor)

    def now(self) -> int:
        """The count as it is."""
        return _COUNT.unpack_from(self._map)[0] if self._map is not None else 0

    def advance(self) -> None:
        """Count one more; by one process alone."""
        if self._map is not None:
            _COUNT.pack_into(self._map, 0, self.now() + 1)
