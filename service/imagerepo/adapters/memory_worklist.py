"""Scheduled and performed procedure steps in memory (ports.worklist.Worklist), for tests of who uses them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import RLock

from imagerepo.model.worklist import Bounds, Cursor, PerformedStep, ScheduledStep, StepState

_OPEN = frozenset({StepState.SCHEDULED, StepState.STARTED})


class MemoryWorklist:
    """Forgets all at its end."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._scheduled: dict[tuple[str, str], ScheduledStep] = {}
        self._performed: dict[tuple[str, str], PerformedStep] = {}  # in order of their beginning

    def put(self, step: ScheduledStep) -> bool:
        """Add an item, or put it in place of another."""
        with self._lock:
            known = self._scheduled.get((step.institution, step.id))
            if known is not None and (known.study_uid, known.step_id) == (step.study_uid, step.step_id):
                step = replace(step, state=known.state)
            self._scheduled[step.institution, step.id] = step
            return known is None

    def scheduled(self, institution: str, id: str) -> ScheduledStep | None:  # noqa: A002 - as the model has it
        """An item."""
        return self._scheduled.get((institution, id))

    def remove(self, institution: str, id: str) -> bool:  # noqa: A002 - as the model has it
        """Remove an item."""
        with self._lock:
            return self._scheduled.pop((institution, id), None) is not None

    def page(self, institution: str, bounds: Bounds, after: Cursor, limit: int) -> Sequence[ScheduledStep]:
        """Items that are scheduled or started."""
        with self._lock:
            found = [
                step
                for step in self._scheduled.values()
                if step.institution == institution
                and step.state in _OPEN
                and (step.day, step.time, step.id) > after
                and bounds.first_day <= step.day <= (bounds.last_day or step.day)
                and bounds.patient_id in {"", step.patient_id}
            ]
        return sorted(found, key=lambda step: (step.day, step.time, step.id))[:limit]

    def begin(self, step: PerformedStep) -> bool:
        """Add a performed step."""
        with self._lock:
            if (step.institution, step.uid) in self._performed:
                return False
            self._keep(step)
            return True

    def change(
        self, institution: str, uid: str, change: Callable[[PerformedStep], PerformedStep]
    ) -> PerformedStep | None:
        """Put what `change` makes of a performed step in its place."""
        with self._lock:
            step = self._performed.get((institution, uid))
            if step is None:
                return None
            changed = change(step)
            self._keep(changed)
            return changed

    def performed(self, institution: str, uid: str) -> PerformedStep | None:
        """A performed step."""
        return self._performed.get((institution, uid))

    def performed_of(self, institution: str, study_uid: str, limit: int) -> Sequence[PerformedStep]:
        """Performed steps of a study."""
        with self._lock:
            return [
                step
                for step in self._performed.values()
                if step.institution == institution and study_uid in {study for study, _ in step.scheduled}
            ][:limit]

    def _keep(self, step: PerformedStep) -> None:
        self._performed[step.institution, step.uid] = step
        for study_uid, step_id in step.scheduled:
            for key, one in self._scheduled.items():
                if one.institution == step.institution and one.study_uid == study_uid and step_id in {"", one.step_id}:
                    self._scheduled[key] = replace(one, state=step.status.state, changed_at=step.changed_at)
