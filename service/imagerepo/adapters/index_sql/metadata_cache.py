"""DICOM JSON of versions, kept (ports.index.MetadataCache) in a database of its own: losing it costs time only."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from imagerepo.adapters.index_sql.engine import PerThread, connect
from imagerepo.model.instance import Version

_FILE = "metadata.sqlite"


class SqlMetadataCache:
    """Keeps zstd frames by digest: the same bytes give the same JSON."""

    def __init__(self, data: Path) -> None:
        self._connections = PerThread(lambda: _open(data / _FILE))

    def get(self, versions: Sequence[Version]) -> Sequence[bytes | None]:
        """Each version's frame, or None."""
        try:
            find = self._connections.get().execute
            rows: list[bytes | None] = []
            for one in versions:
                row = find(
                    "SELECT frame FROM metadata WHERE digest = ? AND syntax = ?", (one.digest, one.transfer_syntax)
                ).fetchone()
                rows.append(row[0] if row else None)
        except sqlite3.Error:
            return [None] * len(versions)
        return rows

    def put(self, entries: Sequence[tuple[Version, bytes]]) -> None:
        """Keep frames; drops them where the disk is full or another process holds the database."""
        try:
            connection = self._connections.get()
        except sqlite3.Error:
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "INSERT OR IGNORE INTO metadata (digest, syntax, frame) VALUES (?, ?, ?)",
                [(version.digest, version.transfer_syntax, frame) for version, frame in entries],
            )
            connection.execute("COMMIT")
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


def _open(path: Path) -> sqlite3.Connection:
    connection = connect(path)
    connection.execute("PRAGMA wal_autocheckpoint=1000")
    connection.execute(
        "CREATE TABLE IF NOT EXISTS metadata (digest BLOB, syntax TEXT, frame BLOB, PRIMARY KEY (digest, syntax)) "
        "WITHOUT ROWID"
    )
    return connection
