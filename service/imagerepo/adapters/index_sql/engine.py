"""Connections to SQLite: the index and the metadata cache."""

import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from imagerepo.adapters.writing import is_full, writing
from imagerepo.errors import OutOfSpaceError, UnavailableError

INDEX = "index.sqlite"
LOG = "-wal"  # after a database's name: SQLite's write-ahead log
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT}
# What our own statements never bring about where schema and rows are what they were.
_UNSOUND = _DAMAGE | {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH}
_PRIMARY = 0xFF  # the part of an error code that names its kind
_LOOK = 10_000  # steps between looks at how many are left: well below a millisecond
_BUSY = 10.0  # seconds to wait for another process's transaction


def connect(path: Path) -> sqlite3.Connection:
    """Open a database for one thread at a time; transactions are begun by hand."""
    connection = sqlite3.connect(
        path, timeout=_BUSY, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")  # durability is the segments'; this is a projection
    connection.execute("PRAGMA wal_autocheckpoint=0")  # the parent checkpoints, so that no ingest waits for it
    connection.execute("PRAGMA journal_size_limit=4194304")  # bytes the log keeps when it begins anew
    connection.execute("PRAGMA cache_size=-8192")  # 8 MiB a thread; the page cache holds the rest
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the database's file is damaged; not that the disk failed or is full, or another process waits."""
    return _kind(error) in _DAMAGE


def is_unsound(error: sqlite3.Error) -> bool:
    """Whether the file is damaged, or its schema or rows contradict what is written to them."""
    return _kind(error) in _UNSOUND


def _kind(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_INTERNAL) & _PRIMARY


def transaction(connection: sqlite3.Connection) -> AbstractContextManager[sqlite3.Connection]:
    """A write transaction. Raises UnavailableError if it cannot be made; then nothing has changed."""
    return writing(connection, _unavailable)


def _unavailable(error: sqlite3.Error) -> UnavailableError:
    if is_full(error):
        return OutOfSpaceError("no room left to write the index; free some space on its disk")
    return UnavailableError(f"the index cannot be written: {error}")


class Budget:
    """Steps of SQLite's machine that may be taken, over any number of statements."""

    def __init__(self, steps: int) -> None:
        self._left = steps // _LOOK

    def add(self, steps: int) -> None:
        """Grant more."""
        self._left += steps // _LOOK

    @contextmanager
    def spent_by(self, connection: sqlite3.Connection) -> Generator[None]:
        """Have what runs meanwhile interrupted when none is left (SQLITE_INTERRUPT)."""
        connection.set_progress_handler(self._look, _LOOK)
        try:
            yield
        finally:
            connection.set_progress_handler(None, 0)

    def _look(self) -> bool:
        self._left -= 1
        return self._left < 0


class PerThread:
    """A connection for each thread that asks."""

    def __init__(self, open_: Callable[[], sqlite3.Connection]) -> None:
        self._open = open_
        self._local = threading.local()

    def get(self) -> sqlite3.Connection:
        """This thread's connection."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._open()
        return connection
