"""Compaction as tasks: two look for series that need it and add a task for each, the others compact.

One of them looks for series that are quiet. The other goes over all that are stored, now and then: what came from a
release that knew nothing of compaction says nothing of itself. A series that came at once needs nothing: it costs one
look.
"""

import json
import logging
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from imagerepo.errors import DamagedError, UnavailableError
from imagerepo.flows.upkeep.steps import Again
from imagerepo.flows.work import later, now
from imagerepo.model.task import NewTask, Task, TaskKind, TaskState
from imagerepo.model.uids import Uid
from imagerepo.ports.compaction import Compaction, Grown
from imagerepo.ports.tasks import Selection, Tasks

log = logging.getLogger(__name__)

LOOKING: Final = "all institutions"
"""The queue of the tasks that look; the others' are named after institutions."""

_OFTEN: Final = 5.0  # seconds between looks at the most
_PAGE: Final = 100  # series
_WAITING: Final = 1000  # tasks; while more than these wait, nobody looks for others
_SILENT: Final = 3  # series in a row of which nothing is to be had: then it is not for one of them
_ROUND: Final = 30 * 24 * 3600.0  # seconds from the end of a look at all series to the next one
_STORED: Final = "look at all series"


def standing() -> Sequence[NewTask]:
    """The tasks that look for others; they are never done."""
    return [
        NewTask(TaskKind.COMPACT, "", LOOKING, lane, name, _from(0), now())
        for lane, name in ((LOOKING, "look for quiet series"), (_STORED, _STORED))
    ]


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
        if task.queue != LOOKING:
            return self._compact(task)
        often = min(_OFTEN, self._quiet_after)
        if len(self._tasks.page(Selection(TaskKind.COMPACT, state=TaskState.WAITING), 0, _WAITING)) == _WAITING:
            return Again(task.payload, later(often))
        after = json.loads(task.payload)["after"]
        if task.name == _STORED:
            page = self._compaction.stored(after, _PAGE)
            self._look(page)
            round_ = _ROUND
        else:
            page = self._compaction.quiet(after, timedelta(seconds=self._quiet_after), _PAGE)
            self._compaction.forget(self._look(page))
            round_ = often
        return Again(_from(0), later(round_)) if len(page) < _PAGE else Again(_from(page[-1].key), now())

    def _look(self, page: Sequence[Grown]) -> Sequence[Grown]:
        """Add tasks for those that need it; all of which that is known by now."""
        seen: list[Grown] = []
        due: list[NewTask] = []
        silent = 0
        for one in page:
            try:
                if self._compaction.is_due(one):
                    due.append(_task(one))
            except UnavailableError as error:
                silent += 1
                if silent == _SILENT:
                    raise
                # One alone, as where a statement about it takes too long, does not keep those behind it waiting.
                log.warning("compaction.not_looked_at", extra={"series": one.series_uid, "reason": str(error)})
                continue
            silent = 0
            seen.append(one)
        self._tasks.add(due)
        return seen

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
