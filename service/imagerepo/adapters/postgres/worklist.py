"""Scheduled and performed procedure steps in PostgreSQL (ports.worklist.Worklist)."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from imagerepo.adapters import worklist_rows
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.settled import in_transaction
from imagerepo.adapters.worklist_rows import LAST_DAY, OPEN, PERFORMED, REPLACE, SCHEDULED
from imagerepo.dicom import header
from imagerepo.model.worklist import Bounds, Cursor, PerformedStep, ScheduledStep

# xmax: of the row that this one replaced.
_PUT: Final = (
    f"INSERT INTO scheduled_step ({SCHEDULED}, is_open) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
    f"{REPLACE} RETURNING xmax = 0"
)
_PAGE: Final = (
    f"SELECT {SCHEDULED} FROM scheduled_step "
    "WHERE institution = %s AND is_open = 1 AND (day, time, id) > (%s, %s, %s) "
    "AND day >= %s AND day <= %s {patient}ORDER BY day, time, id LIMIT %s"
)
_TELL: Final = (
    "UPDATE scheduled_step SET state = %s, is_open = %s, changed_at = %s WHERE (institution, id) IN ("
    "SELECT institution, id FROM scheduled_step WHERE institution = %s AND study_uid = %s "
    "AND (step_id = %s OR %s = '') ORDER BY id FOR UPDATE)"
)
_BEGIN: Final = (
    f"INSERT INTO performed_step ({PERFORMED}, begun_at) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)
_FIND: Final = f"SELECT {PERFORMED} FROM performed_step WHERE institution = %s AND uid = %s"
_CHANGE: Final = (
    "UPDATE performed_step SET status = %s, content = %s, changed_at = %s WHERE institution = %s AND uid = %s"
)
_OF_STUDY: Final = (
    f"SELECT {', '.join(f'p.{name}' for name in PERFORMED.split(', '))} FROM performed_of_study s "
    "JOIN performed_step p USING (institution, uid) "
    "WHERE s.institution = %s AND s.study_uid = %s ORDER BY p.begun_at, p.uid LIMIT %s"
)


class PostgresWorklist:
    """The steps of all replicas."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, step: ScheduledStep) -> bool:
        """Add an item, or put it in place of another."""
        values = worklist_rows.of_scheduled(step)
        return in_transaction(self._database, lambda connection: connection.run(_PUT, values).fetchone() == (True,))

    def scheduled(self, institution: str, id: str) -> ScheduledStep | None:  # noqa: A002 - as the model has it
        """An item."""
        rows = self._rows(
            f"SELECT {SCHEDULED} FROM scheduled_step WHERE institution = %s AND id = %s", (institution, id)
        )
        return worklist_rows.scheduled(rows[0]) if rows else None

    def remove(self, institution: str, id: str) -> bool:  # noqa: A002 - as the model has it
        """Remove an item."""
        statement = "DELETE FROM scheduled_step WHERE institution = %s AND id = %s"
        return in_transaction(
            self._database, lambda connection: connection.run(statement, (institution, id)).rowcount == 1
        )

    def page(self, institution: str, bounds: Bounds, after: Cursor, limit: int) -> Sequence[ScheduledStep]:
        """Items that are scheduled or started."""
        of_patient = (bounds.patient_id,) if bounds.patient_id else ()
        values = (institution, *after, bounds.first_day, bounds.last_day or LAST_DAY, *of_patient, limit)
        statement = _PAGE.format(patient="AND patient_id = %s " * len(of_patient))
        return [worklist_rows.scheduled(row) for row in self._rows(statement, values)]

    def begin(self, step: PerformedStep) -> bool:
        """Add a performed step."""
        at = microseconds(step.changed_at)
        values = (step.institution, step.uid, step.status.value, header.document(step.content), at, at)

        def begun(connection: Connection) -> bool:
            if connection.run(_BEGIN, values).rowcount == 0:
                return False
            _tell(connection, step)
            return True

        return in_transaction(self._database, begun)

    def change(
        self,
        institution: str,
        uid: str,
        change: Callable[[PerformedStep], PerformedStep],
    ) -> PerformedStep | None:
        """Put what `change` makes of a performed step in its place."""

        def changed(connection: Connection) -> PerformedStep | None:
            found = connection.run(f"{_FIND} FOR UPDATE", (institution, uid)).fetchone()
            if found is None:
                return None
            step = change(worklist_rows.performed(found))
            content, at = header.document(step.content), microseconds(step.changed_at)
            connection.run(_CHANGE, (step.status.value, content, at, institution, uid))
            _tell(connection, step)
            return step

        return in_transaction(self._database, changed)

    def performed(self, institution: str, uid: str) -> PerformedStep | None:
        """A performed step."""
        rows = self._rows(_FIND, (institution, uid))
        return worklist_rows.performed(rows[0]) if rows else None

    def performed_of(self, institution: str, study_uid: str, limit: int) -> Sequence[PerformedStep]:
        """Performed steps of a study."""
        return [worklist_rows.performed(row) for row in self._rows(_OF_STUDY, (institution, study_uid, limit))]

    def _rows(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._database.reading() as connection:
            return connection.run(statement, values).fetchall()


def _tell(connection: Connection, step: PerformedStep) -> None:
    """Tell of a performed step where its study and its scheduled steps are looked for."""
    state, at = step.status.state, microseconds(step.changed_at)
    for study_uid, step_id in sorted(step.scheduled):
        connection.execute(
            "INSERT INTO performed_of_study (institution, study_uid, uid) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            (step.institution, study_uid, step.uid),
        )
        about = (step.institution, study_uid, step_id, step_id)
        connection.execute(_TELL, (state.value, int(state in OPEN), at, *about))
