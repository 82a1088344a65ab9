"""Connections to work.sqlite. What it holds can't be made anew, so that each transaction is flushed."""

import sqlite3
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from imagerepo.adapters.writing import is_full, writing
from imagerepo.errors import OutOfSpaceError, UnavailableError

WORK = "work.sqlite"
_BUSY = 10.0  # seconds to wait for another process's transaction


def connect(data: Path) -> sqlite3.Connection:
    """Open the data folder's for one thread at a time; transactions are begun by hand."""
    connection = sqlite3.connect(data / WORK, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA journal_size_limit=4194304")  # bytes the log keeps when it begins anew
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


def transaction(connection: sqlite3.Connection) -> AbstractContextManager[sqlite3.Connection]:
    """A write transaction, durable when it is left. Raises UnavailableError; then nothing has changed."""
    return writing(connection, _unavailable)


@contextmanager
def reading() -> Generator[None]:
    """What reads meanwhile raises UnavailableError."""
    try:
        yield
    except sqlite3.Error as error:
        raise _unavailable(error) from error


def _unavailable(error: sqlite3.Error) -> UnavailableError:
    if is_full(error):
        return OutOfSpaceError(f"no room left to write {WORK}; free some space on the data folder's disk")
    return UnavailableError(f"{WORK} cannot be used: {error}")
