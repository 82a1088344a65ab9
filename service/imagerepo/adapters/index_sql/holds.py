"""Legal holds as rows: set and lifted by commits, looked up by whoever asks (ports.holds.Holds)."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from imagerepo.adapters.index_sql import statements as sql
from imagerepo.adapters.index_sql.engine import INDEX, PerThread, connect
from imagerepo.adapters.moments import microseconds, moment
from imagerepo.errors import HeldError, UnavailableError
from imagerepo.model.events import Action, ChangeRequest
from imagerepo.model.hold import Hold
from imagerepo.model.uids import Uid

# Entries are taken in order of commit, whatever order they are come upon in.
_SET = (
    "INSERT INTO hold (institution_id, study_uid, held, commit_number, at, caller, reason) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET held = excluded.held, "
    "commit_number = excluded.commit_number, at = excluded.at, caller = excluded.caller, reason = excluded.reason "
    "WHERE excluded.commit_number > commit_number"
)
_COLUMNS = (
    "SELECT h.study_uid, h.at, h.caller, h.reason FROM hold h JOIN institution n ON n.id = h.institution_id "
    "WHERE n.name = ? AND h.held = 1"
)
_OF = f"{_COLUMNS} AND h.study_uid = ?"
_PAGE = f"{_COLUMNS} AND h.study_uid > ? ORDER BY h.study_uid LIMIT ?"


@dataclass(frozen=True, slots=True)
class HoldEntry:
    """What the journal says of a hold: set or lifted."""

    institution: str
    commit: int
    study_uid: str
    held: bool
    at: datetime
    caller: str
    reason: str

    @classmethod
    def of(cls, request: ChangeRequest, commit: int) -> "HoldEntry":
        """What a request, HOLD or RELEASE, enters as the commit of that number."""
        return cls(
            institution=request.caller.institution,
            commit=commit,
            study_uid=request.study_uid,
            held=request.action is Action.HOLD,
            at=request.at,
            caller=request.caller.name,
            reason=request.reason,
        )


def refuse_held(study_uid: str, held: Hold | None) -> None:
    """Refuse to delete anything of a study that is held. Raises HeldError."""
    if held is not None:
        raise HeldError(
            f"study {study_uid} is held since {held.at:%Y-%m-%d} by {held.caller} "
            f"({held.reason or 'no reason given'}); nothing of it can be deleted until the hold is lifted"
        )


def enter(connection: sqlite3.Connection, entry: HoldEntry) -> None:
    """Write the row of a hold, in the transaction of whoever calls."""
    connection.execute(sql.ADD_INSTITUTION, (entry.institution,))
    (institution,) = connection.execute(sql.FIND_INSTITUTION, (entry.institution,)).fetchone()
    said = (entry.held, entry.commit, microseconds(entry.at), entry.caller, entry.reason)
    connection.execute(_SET, (institution, entry.study_uid, *said))


def find(connection: sqlite3.Connection, institution: str, study_uid: str) -> Hold | None:
    """A study's hold, as one connection sees it."""
    row = connection.execute(_OF, (institution, study_uid)).fetchone()
    return None if row is None else hold(*row)


class SqlHolds:
    """Reads through one connection a thread."""

    def __init__(self, data: Path) -> None:
        self._connections = PerThread(lambda: connect(data / INDEX))

    def of(self, institution: str, study_uid: str) -> Hold | None:
        """A study's hold, if there is one. Raises UnavailableError."""
        try:
            return find(self._connections.get(), institution, study_uid)
        except sqlite3.Error as error:
            raise UnavailableError(f"the index cannot be read: {error}") from error

    def page(self, institution: str, after: str, limit: int) -> Sequence[Hold]:
        """An institution's holds in order of Study Instance UID. Raises UnavailableError."""
        try:
            rows = self._connections.get().execute(_PAGE, (institution, after, limit)).fetchall()
        except sqlite3.Error as error:
            raise UnavailableError(f"the index cannot be read: {error}") from error
        return [hold(*row) for row in rows]


def hold(study_uid: str, at: int, caller: str, reason: str) -> Hold:
    """A row of _COLUMNS; PostgreSQL's are the same."""
    return Hold(Uid(study_uid), moment(at), caller, reason)
