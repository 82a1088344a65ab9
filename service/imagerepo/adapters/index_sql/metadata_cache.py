"""DICOM JSON of versions, kept (ports.index.MetadataCache) in a database of its own: losing it costs time only.

It takes a fiftieth of the disk at the most: what was kept first makes room for what comes. While less of the disk is
free than its reserve nothing is added.
"""

import contextlib
import logging
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.index_sql.engine import LOG, PerThread, connect, is_unsound
from imagerepo.model.instance import Version

log = logging.getLogger(__name__)

FILE = "metadata.sqlite"
_DAMAGED = f"{FILE}.damaged"  # says that the next start shall remove it
_SHARE = 50  # the cache takes one of so many parts of the disk
_AT_ONCE = 64  # frames dropped at a time
_USED = (
    "SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
)


@dataclass(frozen=True, slots=True)
class Room:
    """What the cache may take."""

    most: int  # bytes
    reserve: int  # bytes of the disk that stay free

    @classmethod
    def on_disk_of(cls, data: Path, reserve: int) -> "Room":
        """The usual share of the data folder's disk."""
        stat = os.statvfs(data)
        return cls(stat.f_blocks * stat.f_frsize // _SHARE, reserve)


class SqlMetadataCache:
    """Keeps zstd frames by digest: the same bytes give the same JSON. What fails is as if nothing were kept."""

    def __init__(self, data: Path, room: Room) -> None:
        self._data = data
        self._room = room
        self._connections = PerThread(lambda: _open(data / FILE))

    def get(self, versions: Sequence[Version]) -> Sequence[bytes | None]:
        """Each version's frame, or None."""
        try:
            find = self._connections.get().execute
            rows: list[bytes | None] = []
            for one in versions:
                row = find(
                    "SELECT frame FROM kept WHERE digest = ? AND syntax = ?", (one.digest, one.transfer_syntax)
                ).fetchone()
                rows.append(row[0] if row else None)
        except sqlite3.Error as error:
            self._failed(error)
            return [None] * len(versions)
        return rows

    def put(self, entries: Sequence[tuple[Version, bytes]]) -> None:
        """Keep frames; drops them where there is no room or another process holds the database."""
        rows = [
            (version.digest, version.transfer_syntax, frame)
            for version, frame in entries
            if len(frame) < self._room.most // 2
        ]
        try:
            if not rows or not self._disk_has_room():
                return
            connection = self._connections.get()
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            self._make_room(connection, sum(len(frame) for _, _, frame in rows))
            connection.executemany("INSERT OR IGNORE INTO kept (digest, syntax, frame) VALUES (?, ?, ?)", rows)
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            with contextlib.suppress(sqlite3.Error):
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            self._failed(error)

    def _make_room(self, connection: sqlite3.Connection, size: int) -> None:
        """Drop what was kept first until `size` bytes more are within the limit; freed pages are used again."""
        while connection.execute(_USED).fetchone()[0] + size > self._room.most:
            oldest = "SELECT id FROM kept ORDER BY id LIMIT ?"
            if not connection.execute(f"DELETE FROM kept WHERE id IN ({oldest})", (_AT_ONCE,)).rowcount:
                return

    def _disk_has_room(self) -> bool:
        stat = os.statvfs(self._data)
        return stat.f_bavail * stat.f_frsize > self._room.reserve

    def _failed(self, error: sqlite3.Error | OSError) -> None:
        if isinstance(error, sqlite3.Error) and is_unsound(error):
            log.warning("metadata_cache.damaged", extra={"reason": str(error)})
            with contextlib.suppress(OSError):
                (self._data / _DAMAGED).touch()


def forget(data: Path, digests: Sequence[bytes]) -> None:
    """Drop what is kept of instances that were deleted, and overwrite it.

    Raises:
        sqlite3.Error: it could not be; to be tried again, unless the next start removes all of it.
    """
    if not (data / FILE).exists() or (data / _DAMAGED).exists():
        return
    with contextlib.closing(_open(data / FILE)) as connection:
        connection.execute("PRAGMA secure_delete=ON")
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("DELETE FROM kept WHERE digest = ?", [(one,) for one in digests])
        connection.execute("COMMIT")


def remove_if_damaged(data: Path) -> None:
    """Remove a cache that was found damaged, or cannot be opened; nothing else runs."""
    if not (data / _DAMAGED).exists() and _opens(data / FILE):
        return
    log.warning("metadata_cache.removed")
    for name in (FILE, f"{FILE}{LOG}", f"{FILE}-shm", _DAMAGED):
        (data / name).unlink(missing_ok=True)


def _opens(path: Path) -> bool:
    if not path.exists():
        return True
    try:
        _open(path).close()
    except sqlite3.Error as error:
        return not is_unsound(error)
    return True


def _open(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    connection.execute("PRAGMA wal_autocheckpoint=1000")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS kept (id INTEGER PRIMARY KEY, digest BLOB, syntax TEXT, frame BLOB, "
        "UNIQUE (digest, syntax))"
    )
    return connection
