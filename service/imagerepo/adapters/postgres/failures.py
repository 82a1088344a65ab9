"""What a database that fails means to whoever asked it.

UnavailableError
├── RejectedError     the server does not let us in with what the settings say
├── RolledBackError   nothing has changed, and trying again at once may help: others were in the way
└── InDoubtError      the connection was lost while the transaction committed: it may have, or not
"""

from typing import Final

import psycopg
from psycopg import errors

from imagerepo.errors import OutOfSpaceError, UnavailableError


class RejectedError(UnavailableError):
    """The server does not let us in with what the settings say: a password, a name, a certificate."""


class RolledBackError(UnavailableError):
    """Others were in the way: a deadlock, or rows that they did not let go of. Nothing has changed."""


class InDoubtError(UnavailableError):
    """The connection was lost during COMMIT. Whoever catches this finds out what became of the transaction."""


_IN_THE_WAY: Final = (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable)
# The server's words, since it gives no code before it has let somebody in.
_REJECTIONS: Final = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "permission denied",
    "certificate",
    "is not permitted to log in",
    "server does not support SSL",
)
_READ_ONLY: Final = "session is read-only"
_FULL: Final = (errors.DiskFull,)
_OTHER_SCHEMA: Final = (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction)
# Answers to COMMIT after which the transaction may stand all the same: the server ended the connection, or cannot say.
_UNSURE: Final = ("08", "40003", "57P", "58", "XX")


def unavailable(error: psycopg.Error) -> UnavailableError:
    """What an error means if it came before COMMIT was sent: nothing has changed."""
    said = _first_line(error)
    if isinstance(error, _IN_THE_WAY):
        return RolledBackError(f"the database is busy with the same rows: {said}")
    if isinstance(error, _FULL):
        return OutOfSpaceError(f"no room left to write the database: {said}")
    if isinstance(error, _OTHER_SCHEMA):
        return UnavailableError(f"the database's schema is another one: {said}; run `imagerepo schema check`")
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return UnavailableError("the database is a standby by now, or read-only")
    return UnavailableError(f"the database cannot be used: {said}")


def of_connecting(error: psycopg.Error) -> UnavailableError:
    """What an error means if no connection came about."""
    said = _first_line(error)
    if _READ_ONLY in said:
        return UnavailableError(
            "the database is read-only: a standby, or one whose index is being made anew (`imagerepo index rebuild`)"
        )
    if any(one in said for one in _REJECTIONS):
        return RejectedError(f"the database does not let us in: {said}")
    return UnavailableError(f"the database does not answer: {said}")


def of_commit(error: psycopg.Error, connection: psycopg.Connection) -> UnavailableError:
    """What an error means if it is what became of COMMIT."""
    state = error.sqlstate
    if connection.closed or not state or state.startswith(_UNSURE):
        return InDoubtError(f"the database was lost while it committed: {_first_line(error)}")
    return unavailable(error)


def _first_line(error: psycopg.Error) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].removeprefix("connection failed: ") if lines else type(error).__name__
