"""What parent and workers see of each other: whether we drain, and how many connections each worker has.

A small memory-mapped file. Each worker writes its own counter alone; a sum over them is a moment old at most.
"""

import mmap
import os
import struct
from pathlib import Path

_WORD = struct.Struct("<Q")
_DRAINING = 0


class Sharing:
    """The shared words: one flag, then one counter a worker."""

    def __init__(self, path: Path, workers: int) -> None:
        """Open what `create` made."""
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._map = mmap.mmap(descriptor, 0)
        finally:
            os.close(descriptor)
        self._workers = workers

    @classmethod
    def create(cls, path: Path, workers: int) -> "Sharing":
        """Make it, all zero."""
        path.write_bytes(bytes(_WORD.size * (1 + workers)))
        return cls(path, workers)

    @property
    def draining(self) -> bool:
        """Whether the server is on its way out."""
        return self._get(_DRAINING) != 0

    def drain(self) -> None:
        """Say that the server is on its way out."""
        self._put(_DRAINING, 1)

    def count(self, worker: int) -> int:
        """Connections of a worker, numbered from 0."""
        return self._get(1 + worker)

    def set_count(self, worker: int, count: int) -> None:
        """Write a worker's counter: the worker itself, or the parent after its death."""
        self._put(1 + worker, count)

    def _get(self, word: int) -> int:
        return _WORD.unpack_from(self._map, word * _WORD.size)[0]

    def _put(self, word: int, value: int) -> None:
        _WORD.pack_into(self._map, word * _WORD.size, value)


class Crowd:
    """Connections of the workers that share one port, seen by one of them."""

    def __init__(self, sharing: Sharing, own: int, all_: range) -> None:
        """`own` is among `all_`, the numbers of the workers on this port."""
        self._sharing = sharing
        self._own = own
        self._all = all_
        self._count = 0

    def enter(self) -> None:
        """One connection more."""
        self._count += 1
        self._sharing.set_count(self._own, self._count)

    def leave(self) -> None:
        """One connection less."""
        self._count -= 1
        self._sharing.set_count(self._own, self._count)

    def total(self) -> int:
        """Connections of all."""
        return sum(self._sharing.count(worker) for worker in self._all)

    def ahead(self) -> bool:
        """Whether another worker has fewer connections, and should be the one to accept the next."""
        return any(self._sharing.count(worker) < self._count for worker in self._all)
