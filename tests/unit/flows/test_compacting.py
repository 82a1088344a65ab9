"""Who looks for series to be put together: one that cannot be looked at keeps nobody, and tasks are not piled up."""

import json
import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest

from imagerepo.adapters.memory_tasks import MemoryTasks
from imagerepo.errors import UnavailableError
from imagerepo.flows.upkeep import compaction
from imagerepo.flows.upkeep.compaction import Compacting
from imagerepo.flows.upkeep.steps import Again
from imagerepo.flows.work import later, now
from imagerepo.model.task import NewTask, TaskKind
from imagerepo.model.uids import Uid
from imagerepo.ports.compaction import Grown, Progress
from imagerepo.ports.tasks import Selection

QUIET, STORED = compaction.standing()


class Store:
    """Series of a cluster, all of which need it (ports.compaction.Compaction)."""

    def __init__(self, keys: Sequence[int], silent: Sequence[int] = ()) -> None:
        self.arrived = list(keys)
        self._keys = list(keys)
        self._silent = set(silent)

    def quiet(self, after: int, silence: timedelta, limit: int) -> Sequence[Grown]:
        del silence
        return _grown([key for key in self.arrived if key > after][:limit])

    def stored(self, after: int, limit: int) -> Sequence[Grown]:
        return _grown([key for key in self._keys if key > after][:limit])

    def forget(self, series: Sequence[Grown]) -> None:
        gone = {one.key for one in series}
        self.arrived = [key for key in self.arrived if key not in gone]

    def is_due(self, series: Grown) -> bool:
        if series.key in self._silent:
            raise UnavailableError("it took too long")
        return True

    def step(self, institution: str, study_uid: Uid, series_uid: Uid, damaged: Mapping[int, str]) -> Progress:
        raise NotImplementedError


def _grown(keys: Sequence[int]) -> Sequence[Grown]:
    return [Grown(key, 0, "default", Uid("1"), Uid(f"1.{key}")) for key in keys]


def look(store: Store, tasks: MemoryTasks, new: NewTask) -> Again:
    """One step of a task that looks."""
    tasks.add(compaction.standing())
    (task,) = tasks.page(Selection(name=new.name), 0, 1)
    again = Compacting(store, tasks, 0.0).step(task, threading.Event())
    assert again is not None
    return again


def found(tasks: MemoryTasks) -> list[int]:
    page = tasks.page(Selection(TaskKind.COMPACT, "default"), 0, 10_000)
    return [int(json.loads(one.payload)["series"].partition(".")[2]) for one in page]


def test_a_series_that_cannot_be_looked_at_is_looked_at_again_and_keeps_no_other_one() -> None:
    store, tasks = Store([1, 2, 3, 4, 5], silent=[1, 2, 4]), MemoryTasks()
    look(store, tasks, QUIET)
    assert found(tasks) == [3, 5]
    assert store.arrived == [1, 2, 4]


def test_where_nothing_is_to_be_had_of_several_in_a_row_it_is_not_for_one_of_them() -> None:
    store = Store([1, 2, 3, 4], silent=[1, 2, 3])
    with pytest.raises(UnavailableError):
        look(store, MemoryTasks(), QUIET)
    assert store.arrived == [1, 2, 3, 4]


@pytest.mark.parametrize("new", [QUIET, STORED], ids=["quiet", "stored"])
def test_nobody_looks_for_others_while_many_wait(new: NewTask) -> None:
    store, tasks = Store([5000]), MemoryTasks()
    waiting = [
        NewTask(TaskKind.COMPACT, "default", "default", str(key), str(key), '{"series": "1.1"}', now())
        for key in range(1000)
    ]
    tasks.add(waiting)
    again = look(store, tasks, new)
    assert again.payload == new.payload
    assert (len(found(tasks)), store.arrived) == (1000, [5000])


def test_what_was_stored_before_anybody_looked_is_looked_at_page_by_page_and_then_rarely() -> None:
    store, tasks = Store(list(range(1, 251))), MemoryTasks()
    store.arrived = []
    again = look(store, tasks, STORED)
    assert found(tasks) == list(range(1, 101))
    (task,) = tasks.page(Selection(name=STORED.name), 0, 1)
    pages = 1
    while again.due_at <= now():
        tasks.drop(Selection(name=STORED.name))
        tasks.add([NewTask(task.kind, "", task.queue, task.lane, task.name, again.payload, now())])
        again = look(store, tasks, STORED)
        pages += 1
    assert pages == 3
    assert found(tasks) == list(range(1, 251))
    assert again.due_at > later(24 * 3600)
