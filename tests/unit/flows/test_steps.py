"""Tasks done step by step: what becomes of one after each way in which a step can end."""

import json
import threading

import pytest

from imagerepo.adapters.memory_tasks import MemoryTasks
from imagerepo.errors import DamagedError, RefusedError, UnavailableError
from imagerepo.flows.upkeep.steps import Again, Step, Steps
from imagerepo.flows.work import Attempts, later, now
from imagerepo.model.task import NewTask, Task, TaskKind, TaskState
from imagerepo.ports.tasks import Selection
from imagerepo.settings import Retry

RETRY = Retry(first=0.01, longest=0.01, attempts=3)


@pytest.fixture
def tasks() -> MemoryTasks:
    made = MemoryTasks()
    made.add([NewTask(TaskKind.SWEEP, "default", "default", "", "one", "{}", now())])
    return made


def done(tasks: MemoryTasks, step: Step) -> list[Task]:
    """What is there after all that is due was done, and what failed was tried again."""
    Steps(TaskKind.SWEEP, step, tasks, Attempts(tasks, RETRY)).work("default", threading.Event())
    return list(tasks.page(Selection(), 0, 10))


def failing(error: Exception) -> Step:
    def step(_task: Task, _stop: threading.Event) -> Again | None:
        raise error

    return step


def test_a_task_goes_on_where_the_last_step_left_it_until_it_is_done(tasks: MemoryTasks) -> None:
    seen: list[str] = []

    def step(task: Task, _stop: threading.Event) -> Again | None:
        seen.append(task.payload)
        return Again(json.dumps(len(seen)), now()) if len(seen) < 3 else None

    assert done(tasks, step) == []
    assert seen == ["{}", "1", "2"]


def test_a_task_that_is_always_there_waits_for_its_time(tasks: MemoryTasks) -> None:
    (one,) = done(tasks, lambda _task, _stop: Again("{}", later(60)))
    assert (one.state, one.attempts) == (TaskState.WAITING, 0)
    assert one.due_at > later(50)


def test_what_is_merely_not_to_be_had_is_tried_for_ever(tasks: MemoryTasks) -> None:
    tried: list[Task] = []

    def step(task: Task, _stop: threading.Event) -> None:
        tried.append(task)
        raise UnavailableError("no answer")

    while len(tried) < 3 * RETRY.attempts:
        (one,) = done(tasks, step)
    assert (one.state, one.attempts, one.problem) == (TaskState.WAITING, len(tried), "no answer")


@pytest.mark.parametrize("error", [RefusedError("it does not work"), KeyError("a defect")])
def test_what_fails_over_and_over_is_parked_with_the_reason(tasks: MemoryTasks, error: Exception) -> None:
    while (one := done(tasks, failing(error))[0]).state is not TaskState.PARKED:
        pass
    assert one.attempts == RETRY.attempts
    assert str(error.args[0]) in one.problem


def test_damage_is_parked_at_once(tasks: MemoryTasks) -> None:
    (one,) = done(tasks, failing(DamagedError("bytes were changed")))
    assert (one.state, one.problem) == (TaskState.PARKED, "bytes were changed")


def test_a_worker_that_ends_leaves_what_it_has_not_begun(tasks: MemoryTasks) -> None:
    stop = threading.Event()
    stop.set()
    begun: list[Task] = []
    Steps(TaskKind.SWEEP, lambda task, _: begun.append(task), tasks, Attempts(tasks, RETRY)).work("default", stop)
    assert begun == []
    assert [one.name for one in tasks.lease(TaskKind.SWEEP, "default", now(), later(1), 1)] == ["one"]
