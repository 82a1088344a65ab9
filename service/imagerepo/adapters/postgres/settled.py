"""Transactions of which it is known in the end what became of them, whatever becomes of the connection."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, TypeVar

from psycopg import errors

from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.failures import InDoubtError, RolledBackError
from imagerepo.errors import UnavailableError

Result = TypeVar("Result")

_TRIES: Final = 4  # at what others were in the way of
_ASKED_FOR: Final = 12.0  # seconds: longer than a transaction lasts whose client is gone (connecting.py)
_PAUSE: Final = 0.2  # seconds


@contextmanager
def settled(database: Database) -> Generator[Connection]:
    """Like `Database.transaction`, but for one round trip more and no doubt.

    Raises:
        UnavailableError: nothing has changed.
        InDoubtError: the database could not be asked what has.
    """
    number: str | None = None
    try:
        with database.transaction() as connection:
            yield connection
            row = connection.execute("SELECT pg_current_xact_id_if_assigned()::text").fetchone()
            number = row[0] if row is not None else None
    except InDoubtError as error:
        if number is not None and not _was_committed(database, number):
            raise UnavailableError(f"{error}; it was undone") from error


def in_transaction(database: Database, work: Callable[[Connection], Result]) -> Result:
    """What `work` returns of a transaction, which is tried again where others were in the way. Raises likewise."""
    for _ in range(_TRIES - 1):
        try:
            with settled(database) as connection:
                return work(connection)
        except RolledBackError:
            continue
    with settled(database) as connection:
        return work(connection)


def _was_committed(database: Database, number: str) -> bool:
    """Ask a new connection. Raises InDoubtError."""
    deadline = time.monotonic() + _ASKED_FOR
    while time.monotonic() < deadline:
        try:
            found = _status(database, number)
        except UnavailableError:
            found = "in progress"
        if found != "in progress":
            return found == "committed"
        time.sleep(_PAUSE)
    raise InDoubtError("the database was lost while it committed, and cannot be asked what it did")


def _status(database: Database, number: str) -> str:
    with database.reading() as connection:
        try:
            row = connection.execute("SELECT pg_xact_status(%s::xid8)", (number,)).fetchone()
        except errors.InvalidParameterValue:
            return "aborted"  # a number of the future: another server took over, which has not seen it
    if row is None or row[0] is None:
        raise InDoubtError("the database has forgotten what became of the transaction")
    return str(row[0])
