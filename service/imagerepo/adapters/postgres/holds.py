"""Legal holds in PostgreSQL (ports.holds.Holds); commits set and lift them."""

from collections.abc import Sequence
from typing import Final

from imagerepo.adapters.index_sql.holds import HoldEntry, hold
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.model.hold import Hold

# The later entry stays, whatever order they come in.
_SET: Final = (
    "INSERT INTO hold (institution_id, study_uid, held, commit_number, at, caller, reason) "
    "SELECT id, %s, %s, %s, %s, %s, %s FROM institution WHERE name = %s "
    "ON CONFLICT (institution_id, study_uid) DO UPDATE SET held = excluded.held, "
    "commit_number = excluded.commit_number, at = excluded.at, caller = excluded.caller, reason = excluded.reason "
    "WHERE excluded.commit_number > hold.commit_number"
)
_COLUMNS: Final = (
    "SELECT h.study_uid, h.at, h.caller, h.reason FROM institution n JOIN hold h ON h.institution_id = n.id "
    "WHERE n.name = %s AND h.held = 1"
)
_OF: Final = f"{_COLUMNS} AND h.study_uid = %s"
_PAGE: Final = f"{_COLUMNS} AND h.study_uid > %s ORDER BY h.study_uid LIMIT %s"


def enter(connection: Connection, entry: HoldEntry) -> None:
    """Write the row of a hold, in the transaction of whoever calls; the institution's row is there."""
    said = (int(entry.held), entry.commit, microseconds(entry.at), entry.caller, entry.reason)
    connection.execute(_SET, (entry.study_uid, *said, entry.institution))


def find(connection: Connection, institution: str, study_uid: str) -> Hold | None:
    """A study's hold, as a transaction sees it."""
    row = connection.execute(_OF, (institution, study_uid)).fetchone()
    return None if row is None else hold(*row)


class PostgresHolds:
    """Reads."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of(self, institution: str, study_uid: str) -> Hold | None:
        """A study's hold, if there is one. Raises UnavailableError."""
        with self._database.reading() as connection:
            return find(connection, institution, study_uid)

    def page(self, institution: str, after: str, limit: int) -> Sequence[Hold]:
        """An institution's holds in order of Study Instance UID. Raises UnavailableError."""
        with self._database.reading() as connection:
            rows = connection.execute(_PAGE, (institution, after, limit)).fetchall()
        return [hold(*row) for row in rows]
