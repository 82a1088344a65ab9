"""Give the bytes of what was deleted back to the disk, in the background.

1. Who reads is told that bytes may be gone (generation.py).
2. Their place in a segment becomes a hole, which reads as zeros; the records around it stay where they are. A file of
   its own becomes one too, then is removed. That is made durable.
3. Their DICOM JSON is dropped from the cache.
4. They are forgotten in the index.

Whatever ends this between two steps, the next start begins with step 1 again: all of it may be done twice. An index
that is made anew knows all that was ever deleted, and has it done once more.
"""

import ctypes
import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from imagerepo.adapters.index_sql import metadata_cache
from imagerepo.adapters.index_sql.engine import transaction
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.segments.generation import Generation
from imagerepo.adapters.segments.spool import FOLDER as FILES
from imagerepo.adapters.segments.writer import STORE, sync_folder

log = logging.getLogger(__name__)

_AT_ONCE: Final = 500  # ranges
_PUNCH_HOLE: Final = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE, which needs FALLOC_FL_KEEP_SIZE (linux/falloc.h)
_NO_HOLES: Final = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}
_ZEROS: Final = bytes(1 << 20)

_FIND = (
    'SELECT c.id, o.id, o.key, c."offset", c.length, c.digest FROM reclaim c JOIN object o ON o.id = c.object_id '
    "WHERE o.store = ? AND c.gone_at <= ? ORDER BY c.id LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class _Range:
    """Bytes to be given back."""

    row: int
    object_: int
    key: str
    offset: int  # bytes
    length: int  # bytes
    digest: bytes


class Reclaimer:
    """Works through what was deleted. For one process of a server, or where none runs."""

    def __init__(self, data: Path, generation: Generation, locked: Callable[[], AbstractContextManager[None]]) -> None:
        """Assemble; `locked` holds the folder's lock, so that no commit has to wait for the index's."""
        self._data = data
        self._generation = generation
        self._locked = locked

    def work(self, connection: sqlite3.Connection, now: datetime, delay: timedelta) -> int:
        """Give back some of what was deleted longer than `delay` ago; how many ranges that were.

        Raises:
            OSError, sqlite3.Error, UnavailableError: not all could be done; it is begun again.
        """
        due = (STORE, microseconds(now - delay), _AT_ONCE)
        found = [_Range(*row) for row in connection.execute(_FIND, due)]
        if not found:
            return 0
        self._generation.advance()
        by_key: dict[str, list[_Range]] = {}
        for one in found:
            by_key.setdefault(one.key, []).append(one)
        for key, ranges in by_key.items():
            self._give_back(key, ranges)
        folders = {(self._data / key).parent for key in by_key if _is_file(key)}
        for folder in folders:
            if folder.exists():
                sync_folder(folder)
        metadata_cache.forget(self._data, [one.digest for one in found])
        self._forget(connection, found, by_key)
        log.info("reclaim.done", extra={"ranges": len(found), "bytes": sum(one.length for one in found)})
        return len(found)

    def _give_back(self, key: str, ranges: Sequence[_Range]) -> None:
        path = self._data / key
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return  # done before, or lost
        try:
            size = os.fstat(descriptor).st_size
            for one in ranges:
                if one.offset + one.length <= size:  # else a shorter segment was put there, of a backup
                    _punch(descriptor, one.offset, one.length)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if _is_file(key):
            # Who has it open would keep its bytes on the disk: hence the hole before.
            path.unlink(missing_ok=True)

    def _forget(
        self, connection: sqlite3.Connection, found: Sequence[_Range], by_key: Mapping[str, Sequence[_Range]]
    ) -> None:
        files = [(ranges[0].object_,) for key, ranges in by_key.items() if _is_file(key)]
        with self._locked(), transaction(connection):
            connection.executemany("DELETE FROM reclaim WHERE id = ?", [(one.row,) for one in found])
            connection.executemany("DELETE FROM object WHERE id = ?", files)


def _is_file(key: str) -> bool:
    return key.startswith(f"{FILES}/")


def _load() -> Callable[[int, int, int, int], int] | None:
    library = ctypes.CDLL(None, use_errno=True)
    # A library that has the second alone takes offsets of 64 bits in it.
    function = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if function is None:
        return None
    function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return function


_fallocate = _load()


def _punch(descriptor: int, offset: int, length: int) -> None:
    """Have a hole instead of some bytes; where the file system has none, zeros.

    Source: fallocate(2), Deallocating file space.
    """
    if _fallocate is not None:
        if _fallocate(descriptor, _PUNCH_HOLE, offset, length) == 0:
            return
        error = ctypes.get_errno()
        if error not in _NO_HOLES:
            raise OSError(error, os.strerror(error))
    end = offset + length
    while offset < end:
        offset += os.pwrite(descriptor, _ZEROS[: end - offset], offset)
