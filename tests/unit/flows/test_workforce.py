"""Who gets a thread: a kind with many queues leaves room for others, and no queue waits for ever."""

import threading
from collections.abc import Sequence

from imagerepo.adapters.memory_tasks import MemoryTasks
from imagerepo.flows.work import Workforce, now
from imagerepo.model.task import NewTask, TaskKind

QUEUES = [f"{number:03}" for number in range(100)]


class Working:
    """Works on whatever it is given until it is let go (work.Handler)."""

    def __init__(self, kind: TaskKind) -> None:
        self.kind = kind
        self.begun: list[str] = []
        self.goes = threading.Semaphore(0)
        self._came = threading.Semaphore(0)
        self._left = threading.Semaphore(0)

    def width(self, queue: str) -> int:
        del queue
        return 1

    def work(self, queue: str, stop: threading.Event) -> None:
        del stop
        self.begun.append(queue)
        self._came.release()
        self.goes.acquire()
        self._left.release()

    def await_begun(self, count: int) -> None:
        for _ in range(count):
            assert self._came.acquire(timeout=10)

    def let_go(self, count: int) -> None:
        self.goes.release(count)
        for _ in range(count):
            assert self._left.acquire(timeout=10)


def with_tasks(*kinds: TaskKind, queues: Sequence[str] = QUEUES) -> MemoryTasks:
    tasks = MemoryTasks()
    tasks.add([NewTask(kind, "default", queue, "", "one", "{}", now()) for kind in kinds for queue in queues])
    return tasks


def test_a_kind_with_many_queues_leaves_threads_to_the_others() -> None:
    compacting, sweeping = Working(TaskKind.COMPACT), Working(TaskKind.SWEEP)
    workforce = Workforce(with_tasks(TaskKind.COMPACT, TaskKind.SWEEP), (compacting, sweeping), {TaskKind.COMPACT: 3})
    workforce.look()
    compacting.await_begun(3)
    sweeping.await_begun(61)
    workforce.look()
    assert (len(compacting.begun), len(sweeping.begun)) == (3, 61)
    compacting.let_go(3)
    sweeping.let_go(61)
    workforce.end(10)


def test_each_queue_has_its_turn_however_much_there_is_to_do_in_those_before_it() -> None:
    compacting = Working(TaskKind.COMPACT)
    workforce = Workforce(with_tasks(TaskKind.COMPACT, queues=QUEUES[:9]), (compacting,), {TaskKind.COMPACT: 3})
    while len(set(compacting.begun)) < 9:
        workforce.look()
        compacting.goes.release()  # its queue has more to do, as all have
    assert len(compacting.begun) <= 9 + 3
    compacting.goes.release(len(compacting.begun))
    workforce.end(10)
