"""Rows of scheduled and performed procedure steps, whichever database they are in."""

from collections.abc import Sequence
from typing import Any, Final

from imagerepo.adapters.moments import microseconds, moment
from imagerepo.dicom import header
from imagerepo.model.worklist import PerformedStatus, PerformedStep, ScheduledStep, StepState

OPEN: Final = frozenset({StepState.SCHEDULED, StepState.STARTED})
SCHEDULED: Final = "institution, id, content, state, study_uid, step_id, patient_id, day, time, changed_at"
PERFORMED: Final = "institution, uid, status, content, changed_at"
LAST_DAY: Final = "99999999"

_CHANGED: Final = "content, study_uid, step_id, patient_id, day, time, changed_at"
_SAME: Final = "scheduled_step.step_id = excluded.step_id AND scheduled_step.study_uid = excluded.study_uid"
# What a modality has told of a step outlives a change of what was planned.
REPLACE: Final = (
    "ON CONFLICT (institution, id) DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _CHANGED.split(", "))
    + "".join(
        f", {name} = CASE WHEN {_SAME} THEN scheduled_step.{name} ELSE excluded.{name} END"
        for name in ("state", "is_open")
    )
)
"""What becomes of an item that is there when another is put in its place."""


def of_scheduled(step: ScheduledStep) -> tuple[str | int, ...]:
    """Values of SCHEDULED, and is_open."""
    return (
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
        int(step.state in OPEN),
    )


def scheduled(row: Sequence[Any]) -> ScheduledStep:
    """A row of SCHEDULED."""
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


def performed(row: Sequence[Any]) -> PerformedStep:
    """A row of PERFORMED."""
    institution, uid, status, content, changed_at = row
    return PerformedStep(institution, uid, PerformedStatus(status), header.read(content.encode()), moment(changed_at))
