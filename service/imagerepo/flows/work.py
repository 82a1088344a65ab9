"""Do what is due: threads over queues, each queue as wide as what it needs allows.

A task is taken out when it is done, never before: whoever dies in between leaves it to the next, so that it may be
done twice. What fails is tried again after a time that doubles. Where a whole queue fails, since its destination does
not answer, one attempt stands for all of it, and goes on for ever; a task that is refused is parked after some. The
one over which a destination has failed waits longer than the rest: whatever it is about, it is not to keep all others.
"""

import logging
import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from imagerepo.errors import UnavailableError
from imagerepo.model.task import Task, TaskKind
from imagerepo.ports.tasks import Tasks
from imagerepo.settings import Retry

log = logging.getLogger(__name__)

LEASE: Final = 600.0  # seconds; whoever takes longer extends it
_MOST_THREADS: Final = 64
_MOST_DOUBLINGS: Final = 40  # beyond it a number of seconds is no number any more


def now() -> datetime:
    """The present moment, aware."""
    return datetime.now(UTC)


def later(seconds: float) -> datetime:
    """The moment in so many seconds."""
    return now() + timedelta(seconds=seconds)


class Handler(Protocol):
    """Does the tasks of one kind. Safe to call from any number of threads."""

    @property
    def kind(self) -> TaskKind:
        """Which tasks."""
        ...

    def width(self, queue: str) -> int:
        """How many lanes of that queue may be worked on at the same time."""
        ...

    def work(self, queue: str, stop: threading.Event) -> None:
        """Do what is due in that queue, until nothing is or `stop` is set. Raises UnavailableError."""
        ...


class Attempts:
    """What becomes of tasks and queues that failed."""

    def __init__(self, tasks: Tasks, retry: Retry) -> None:
        self._tasks = tasks
        self._retry = retry
        self._lock = threading.Lock()
        self._failures: dict[tuple[TaskKind, str], int] = {}

    def task_failed(self, task: Task, problem: str) -> None:
        """Try it again later, or park it if that was the last attempt."""
        log.warning("task.failed", extra={"task": task.id, "kind": task.kind, "queue": task.queue, "reason": problem})
        if task.attempts + 1 >= self._retry.attempts:
            self._tasks.park(task.id, problem)
        else:
            self._tasks.postpone(task.id, later(self._delay(task.attempts)), problem)

    def task_hopeless(self, task: Task, problem: str) -> None:
        """Park it at once: trying again would not help."""
        log.error("task.parked", extra={"task": task.id, "kind": task.kind, "queue": task.queue, "reason": problem})
        self._tasks.park(task.id, problem)

    def task_kept(self, task: Task, problem: str) -> None:
        """Try it again later, without end: it was the destination that failed, over this task or not."""
        self._tasks.postpone(task.id, later(self._delay(task.attempts)), problem)

    def queue_failed(self, kind: TaskKind, queue: str, problem: str) -> None:
        """Leave the whole queue alone for a time."""
        with self._lock:
            failures = self._failures.get((kind, queue), 0)
            self._failures[kind, queue] = failures + 1
        delay = self._delay(failures)
        log.warning("queue.failed", extra={"kind": kind, "queue": queue, "reason": problem, "again_in": delay})
        self._tasks.keep(kind, queue, later(delay), problem)

    def queue_works(self, kind: TaskKind, queue: str) -> None:
        """What it needs is there."""
        with self._lock:
            self._failures.pop((kind, queue), None)
        self._tasks.clear(kind, queue)

    def _delay(self, failures: int) -> float:
        return min(self._retry.first * 2.0 ** min(failures, _MOST_DOUBLINGS), self._retry.longest)


class Workforce:
    """Gives threads to queues that have something to do. `look` and `end` belong to one thread."""

    def __init__(
        self, tasks: Tasks, handlers: tuple[Handler, ...], most: Mapping[TaskKind, int] | None = None
    ) -> None:
        """`most`: threads of a kind, over all queues, where these are to leave some to other kinds."""
        self._tasks = tasks
        self._handlers = handlers
        self._most = most or {}
        self._turn = 0
        self._turns: dict[tuple[TaskKind, str], int] = {}  # when a queue last got a thread
        self._stop = threading.Event()
        self._threads: dict[threading.Thread, tuple[TaskKind, str]] = {}

    def look(self) -> None:
        """Start threads for what is due. Raises UnavailableError."""
        self._threads = {thread: at for thread, at in self._threads.items() if thread.is_alive()}
        for handler in self._handlers:
            due = self._tasks.due(handler.kind, now())
            # Who has waited longest comes first, where not all have room.
            for queue in sorted(due, key=lambda name, kind=handler.kind: self._turns.get((kind, name), 0)):
                # One more a look: whether there is work for it shows when it asks.
                if self._has_room(handler, queue):
                    self._begin(handler, queue)

    def end(self, seconds: float) -> None:
        """Have what is being done finished, as far as it takes no longer than that."""
        self._stop.set()
        until = later(seconds)
        for thread in self._threads:
            thread.join(max(0.0, (until - now()).total_seconds()))

    def _has_room(self, handler: Handler, queue: str) -> bool:
        working = list(self._threads.values())
        of_kind = sum(kind is handler.kind for kind, _ in working)
        return (
            len(working) < _MOST_THREADS
            and of_kind < self._most.get(handler.kind, _MOST_THREADS)
            and working.count((handler.kind, queue)) < handler.width(queue)
        )

    def _begin(self, handler: Handler, queue: str) -> None:
        thread = threading.Thread(target=self._work, args=(handler, queue), name=f"{handler.kind} {queue}")
        thread.daemon = True
        thread.start()
        self._threads[thread] = handler.kind, queue
        self._turn += 1
        self._turns[handler.kind, queue] = self._turn

    def _work(self, handler: Handler, queue: str) -> None:
        try:
            handler.work(queue, self._stop)
        except UnavailableError as error:
            log.warning("work.waits", extra={"kind": handler.kind, "queue": queue, "reason": str(error)})
            self._stop.wait(1.0)
        except Exception:
            # The edge of the thread: whatever it was must not end the others' work.
            log.exception("work.failed", extra={"kind": handler.kind, "queue": queue})
            self._stop.wait(1.0)
