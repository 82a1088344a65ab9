"""Scheduled and performed procedure steps in SQLite (ports.worklist.Worklist)."""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from imagerepo.adapters import worklist_rows
from imagerepo.adapters.index_sql.engine import PerThread
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.work_sql.engine import connect, reading, transaction
from imagerepo.adapters.worklist_rows import LAST_DAY, OPEN, PERFORMED, REPLACE, SCHEDULED
from imagerepo.dicom import header
from imagerepo.model.worklist import Bounds, Cursor, PerformedStep, ScheduledStep

_PUT: Final = f"INSERT INTO scheduled_step ({SCHEDULED}, is_open) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) {REPLACE}"
_PAGE: Final = (
    f"SELECT {SCHEDULED} FROM scheduled_step WHERE institution = ? AND is_open = 1 AND (day, time, id) > (?, ?, ?) "
    "AND day >= ? AND day <= ? {patient}ORDER BY day, time, id LIMIT ?"
)
_TELL: Final = (
    "UPDATE scheduled_step SET state = ?, is_open = ?, changed_at = ? "
    "WHERE institution = ? AND study_uid = ? AND (step_id = ? OR ? = '')"
)


class SqlWorklist:
    """Works through one connection a thread."""

    def __init__(self, data: Path) -> None:
        """Use the data folder's work.sqlite, whose schema is this program's."""
        self._connections = PerThread(lambda: connect(data))

    def put(self, step: ScheduledStep) -> bool:
        """Add an item, or put it in place of another."""
        values = worklist_rows.of_scheduled(step)
        with transaction(self._connection()) as connection:
            new = not _exists(connection, "scheduled_step", "id", step.institution, step.id)
            connection.execute(_PUT, values)
        return new

    def scheduled(self, institution: str, id: str) -> ScheduledStep | None:  # noqa: A002 - as the model has it
        """An item."""
        rows = self._rows(
            f"SELECT {SCHEDULED} FROM scheduled_step WHERE institution = ? AND id = ?", (institution, id)
        )
        return worklist_rows.scheduled(rows[0]) if rows else None

    def remove(self, institution: str, id: str) -> bool:  # noqa: A002 - as the model has it
        """Remove an item."""
        with transaction(self._connection()) as connection:
            statement = "DELETE FROM scheduled_step WHERE institution = ? AND id = ?"
            return bool(connection.execute(statement, (institution, id)).rowcount)

    def page(self, institution: str, bounds: Bounds, after: Cursor, limit: int) -> Sequence[ScheduledStep]:
        """Items that are scheduled or started."""
        of_patient = (bounds.patient_id,) if bounds.patient_id else ()
        values = (institution, *after, bounds.first_day, bounds.last_day or LAST_DAY, *of_patient, limit)
        return [
            worklist_rows.scheduled(row)
            for row in self._rows(_PAGE.format(patient="AND patient_id = ? " * len(of_patient)), values)
        ]

    def begin(self, step: PerformedStep) -> bool:
        """Add a performed step."""
        with transaction(self._connection()) as connection:
            if _exists(connection, "performed_step", "uid", step.institution, step.uid):
                return False
            at = microseconds(step.changed_at)
            values = (step.institution, step.uid, step.status, header.document(step.content), at, at)
            connection.execute(f"INSERT INTO performed_step ({PERFORMED}, begun_at) VALUES (?, ?, ?, ?, ?, ?)", values)
            _tell(connection, step)
        return True

    def change(
        self, institution: str, uid: str, change: Callable[[PerformedStep], PerformedStep]
    ) -> PerformedStep | None:
        """Put what `change` makes of a performed step in its place."""
        with transaction(self._connection()) as connection:
            found = connection.execute(
                f"SELECT {PERFORMED} FROM performed_step WHERE institution = ? AND uid = ?", (institution, uid)
            ).fetchone()
            if found is None:
                return None
            step = change(worklist_rows.performed(found))
            connection.execute(
                "UPDATE performed_step SET status = ?, content = ?, changed_at = ? WHERE institution = ? AND uid = ?",
                (step.status, header.document(step.content), microseconds(step.changed_at), institution, uid),
            )
            _tell(connection, step)
        return step

    def performed(self, institution: str, uid: str) -> PerformedStep | None:
        """A performed step."""
        rows = self._rows(
            f"SELECT {PERFORMED} FROM performed_step WHERE institution = ? AND uid = ?", (institution, uid)
        )
        return worklist_rows.performed(rows[0]) if rows else None

    def performed_of(self, institution: str, study_uid: str, limit: int) -> Sequence[PerformedStep]:
        """Performed steps of a study."""
        columns = ", ".join(f"p.{name}" for name in PERFORMED.split(", "))
        rows = self._rows(
            f"SELECT {columns} FROM performed_of_study s JOIN performed_step p USING (institution, uid) "
            "WHERE s.institution = ? AND s.study_uid = ? ORDER BY p.begun_at, p.uid LIMIT ?",
            (institution, study_uid, limit),
        )
        return [worklist_rows.performed(row) for row in rows]

    def _connection(self) -> sqlite3.Connection:
        with reading():
            return self._connections.get()

    def _rows(self, statement: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with reading():
            return self._connections.get().execute(statement, values).fetchall()


def _exists(connection: sqlite3.Connection, table: str, column: str, institution: str, name: str) -> bool:
    statement = f"SELECT 1 FROM {table} WHERE institution = ? AND {column} = ?"
    return connection.execute(statement, (institution, name)).fetchone() is not None


def _tell(connection: sqlite3.Connection, step: PerformedStep) -> None:
    """Tell of a performed step where its study and its scheduled steps are looked for."""
    state = step.status.state
    for study_uid, step_id in step.scheduled:
        values = (step.institution, study_uid, step.uid)
        connection.execute(
            "INSERT OR IGNORE INTO performed_of_study (institution, study_uid, uid) VALUES (?, ?, ?)", values
        )
        at = microseconds(step.changed_at)
        connection.execute(_TELL, (state, state in OPEN, at, step.institution, study_uid, step_id, step_id))
