"""Compaction as tasks: one looks for series that are quiet and adds a task for each that needs it, the others compact.

A series that came at once needs nothing: it costs one look.
"""

import json
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from imagerepo.errors import DamagedError
from imagerepo.flows.upkeep.steps import Again
from imagerepo.flows.work import later, now
from imagerepo.model.task import NewTask, Task, TaskKind
from imagerepo.model.uids import Uid
from imagerepo.ports.compaction import Compaction, Grown
from imagerepo.ports.tasks import Tasks

LOOKING: Final = "all institutions"
"""The queue of the task that looks; the others' are named after institutions."""

_OFTEN: Final = 5.0  # seconds between looks at the most
_PAGE: Final = 100  # series


def standing() -> Sequence[NewTask]:
    """The task that looks for others; it is never done."""
    return [NewTask(TaskKind.COMPACT, "", LOOKING, LOOKING, "look for quiet series", _from(0), now())]


class Compacting:
    """Does the tasks of kind COMPACT."""

    def __init__(self, compaction: Compaction, tasks: Tasks, quiet_after: float) -> None:
        """`quiet_after`: seconds without anything new after which a series is looked at."""
        self._compaction = compaction
        self._tasks = tasks
        self._quiet_after = quiet_after

    def step(self, task: Task, stop: threading.Event) -> Again | None:
        """Do some of a task (steps.Step). Raises DamagedError, UnavailableError."""
        del stop  # a step takes a few seconds
        return self._look(task) if task.queue == LOOKING else self._compact(task)

    def _look(self, task: Task) -> Again:
        page = self._compaction.quiet(json.loads(task.payload)["after"], timedelta(seconds=self._quiet_after), _PAGE)
        self._tasks.add([_task(one) for one in page if self._compaction.is_due(one)])
        self._compaction.forget(page)
        if len(page) < _PAGE:
            return Again(_from(0), later(min(_OFTEN, self._quiet_after)))
        return Again(_from(page[-1].key), now())

    def _compact(self, task: Task) -> Again | None:
        said = json.loads(task.payload)
        damaged = {int(one): why for one, why in said["damaged"].items()}
        progress = self._compaction.step(task.institution, Uid(said["study"]), Uid(said["series"]), damaged)
        if not progress.is_done:
            return Again(json.dumps({**said, "damaged": progress.damaged}), now())
        if progress.damaged:
            raise DamagedError("; ".join(progress.damaged.values()))
        return None


def _from(after: int) -> str:
    """Where it goes on looking: behind the series of that key."""
    return json.dumps({"after": after})


def _task(grown: Grown) -> NewTask:
    """A task for a series. What comes while it is being done gets another one, after it."""
    payload = json.dumps({"study": grown.study_uid, "series": grown.series_uid, "damaged": {}})
    name = f"{grown.series_uid} {grown.at}"
    return NewTask(TaskKind.COMPACT, grown.institution, grown.institution, str(grown.key), name, payload, now())
