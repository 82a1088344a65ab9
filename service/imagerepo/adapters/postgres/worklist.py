"""Scheduled and performed procedure steps in PostgreSQL (ports.worklist.Worklist)."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from imagerepo.adapters.moments import microseconds, moment
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.settled import in_transaction
from imagerepo.dicom import header
from imagerepo.model.worklist import Bounds, Cursor, PerformedStatus, PerformedStep, ScheduledStep, StepState

_OPEN: Final = frozenset({StepState.SCHEDULED, StepState.STARTED})

_SCHEDULED: Final = "institution, id, content, state, study_uid, step_id, patient_id, day, time, changed_at"
_CHANGED: Final = "content, study_uid, step_id, patient_id, day, time, changed_at"
_SAME: Final = "scheduled_step.step_id = excluded.step_id AND scheduled_step.study_uid = excluded.study_uid"
# What a modality has told of a step outlives a change of what was planned. xmax: of the row that this one replaced.
_PUT: Final = (
    f"INSERT INTO scheduled_step ({_SCHEDULED}, is_open) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (institution, id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _CHANGED.split(", "))
    + "".join(
        f", {name} = CASE WHEN {_SAME} THEN scheduled_step.{name} ELSE excluded.{name} END"
        for name in ("state", "is_open")
    )
    + " RETURNING xmax = 0"
)
_PAGE: Final = (
    f"SELECT {_SCHEDULED} FROM scheduled_step "
    "WHERE institution = %s AND is_open = 1 AND (day, time, id) > (%s, %s, %s) "
    "AND day >= %s AND day <= %s {patient}ORDER BY day, time, id LIMIT %s"
)
_TELL: Final = (
    "UPDATE scheduled_step SET state = %s, is_open = %s, changed_at = %s WHERE (institution, id) IN ("
    "SELECT institution, id FROM scheduled_step WHERE institution = %s AND study_uid = %s "
    "AND (step_id = %s OR %s = '') ORDER BY id FOR UPDATE)"
)
_PERFORMED: Final = "institution, uid, status, content, changed_at"
_BEGIN: Final = (
    f"INSERT INTO performed_step ({_PERFORMED}, begun_at) VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING"
)
_FIND: Final = f"SELECT {_PERFORMED} FROM performed_step WHERE institution = %s AND uid = %s"
_CHANGE: Final = (
    "UPDATE performed_step SET status = %s, content = %s, changed_at = %s WHERE institution = %s AND uid = %s"
)
_OF_STUDY: Final = (
    f"SELECT {', '.join(f'p.{name}' for name in _PERFORMED.split(', '))} FROM performed_of_study s "
    "JOIN performed_step p USING (institution, uid) "
    "WHERE s.institution = %s AND s.study_uid = %s ORDER BY p.begun_at, p.uid LIMIT %s"
)
_LAST_DAY: Final = "99999999"


class PostgresWorklist:
    """The steps of all replicas."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, step: ScheduledStep) -> bool:
        """Add an item, or put it in place of another."""
        values = (
            step.institution,
            step.id,
            header.document(step.content),
            step.state.value,
            step.study_uid,
            step.step_id,
            step.patient_id,
            step.day,
            step.time,
            microseconds(step.changed_at),
            int(step.state in _OPEN),
        )
        return in_transaction(self._database, lambda connection: connection.run(_PUT, values).fetchone() == (True,))

    def scheduled(self, institution: str, id: str) -> ScheduledStep | None:  # noqa: A002 - as the model has it
        """An item."""
        rows = self._rows(
            f"SELECT {_SCHEDULED} FROM scheduled_step WHERE institution = %s AND id = %s", (institution, id)
        )
        return _scheduled(rows[0]) if rows else None

    def remove(self, institution: str, id: str) -> bool:  # noqa: A002 - as the model has it
        """Remove an item."""
        statement = "DELETE FROM scheduled_step WHERE institution = %s AND id = %s"
        return in_transaction(
            self._database, lambda connection: connection.run(statement, (institution, id)).rowcount == 1
        )

    def page(self, institution: str, bounds: Bounds, after: Cursor, limit: int) -> Sequence[ScheduledStep]:
        """Items that are scheduled or started."""
        of_patient = (bounds.patient_id,) if bounds.patient_id else ()
        values = (institution, *after, bounds.first_day, bounds.last_day or _LAST_DAY, *of_patient, limit)
        statement = _PAGE.format(patient="AND patient_id = %s " * len(of_patient))
        return [_scheduled(row) for row in self._rows(statement, values)]

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
            step = change(_performed(found))
            content, at = header.document(step.content), microseconds(step.changed_at)
            connection.run(_CHANGE, (step.status.value, content, at, institution, uid))
            _tell(connection, step)
            return step

        return in_transaction(self._database, changed)

    def performed(self, institution: str, uid: str) -> PerformedStep | None:
        """A performed step."""
        rows = self._rows(_FIND, (institution, uid))
        return _performed(rows[0]) if rows else None

    def performed_of(self, institution: str, study_uid: str, limit: int) -> Sequence[PerformedStep]:
        """Performed steps of a study."""
        return [_performed(row) for row in self._rows(_OF_STUDY, (institution, study_uid, limit))]

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
        connection.execute(_TELL, (state.value, int(state in _OPEN), at, *about))


def _scheduled(row: tuple[Any, ...]) -> ScheduledStep:
    institution, name, content, state, study_uid, step_id, patient_id, day, time, changed_at = row
    return ScheduledStep(
        institution,
        name,
        header.read(content.encode()),
        StepState(state),
        study_uid,
        step_id,
        patient_id,
        day,
        time,
        moment(changed_at),
    )


def _performed(row: tuple[Any, ...]) -> PerformedStep:
    institution, uid, status, content, changed_at = row
    return PerformedStep(institution, uid, PerformedStatus(status), header.read(content.encode()), moment(changed_at))
