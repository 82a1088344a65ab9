"""A write transaction of SQLite's: whole, or not at all."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import contextmanager

from imagerepo.errors import UnavailableError

_FULL = {"SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_SHMSIZE"}


@contextmanager
def writing(
    connection: sqlite3.Connection, unavailable: Callable[[sqlite3.Error], UnavailableError]
) -> Generator[sqlite3.Connection]:
    """Write; what SQLite fails with becomes what `unavailable` makes of it, and then nothing has changed."""
    try:
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise unavailable(error) from error


def is_full(error: sqlite3.Error) -> bool:
    """Whether there is no room left on the disk."""
    return getattr(error, "sqlite_errorname", "") in _FULL
