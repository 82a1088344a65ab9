"""Transactions of which it is known in the end what became of them, whatever becomes of the connection."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class _Number:
    """A transaction's number, and since when the server runs that gave it."""

    transaction: str
    server: str


@contextmanager
def settled(database: Database) -> Generator[Connection]:
    """Like `Database.transaction`, but for one round trip more and no doubt.

    Raises:
        UnavailableError: nothing has changed.
        InDoubtError: the database could not be asked what has.
    """
    number: _Number | None = None
    try:
        with database.transaction() as connection:
            yield connection
            row = connection.execute(
                "SELECT pg_current_xact_id_if_assigned()::text, pg_postmaster_start_time()::text"
            ).fetchone()
            number = _Number(*row) if row is not None and row[0] is not None else None
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


def _was_committed(database: Database, number: "_Number") -> bool:
    """Ask a new connection. Raises InDoubtError."""
    deadline = time.monotonic() + _ASKED_FOR
    while time.monotonic() < deadline:
        try:
            found = _status(database, number)
        except InDoubtError:
            raise
        except UnavailableError:
            found = "in progress"
        if found != "in progress":
            return found == "committed"
        time.sleep(_PAUSE)
    raise InDoubtError("the database was lost while it committed, and cannot be asked what it did")


def _status(database: Database, number: "_Number") -> str:
    with database.reading() as connection:
        begun = connection.execute("SELECT pg_postmaster_start_time()::text").fetchone()
        if begun is None or begun[0] != number.server:
            # Numbers that were lost with their transactions come again after a crash.
            raise InDoubtError("the database began anew while it committed, and cannot tell what it did; try again")
        try:
            row = connection.execute("SELECT pg_xact_status(%s::xid8)", (number.transaction,)).fetchone()
        except errors.InvalidParameterValue:
            return "aborted"  # a number of the future: another server took over, which has not seen it
    if row is None or row[0] is None:
        raise InDoubtError("the database has forgotten what became of the transaction")
    return str(row[0])
