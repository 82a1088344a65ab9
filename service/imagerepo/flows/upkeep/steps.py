"""Tasks done step by step: after each one it is kept how far they are, for whoever goes on.

A step lasts seconds. While it does, the lease is extended again and again: whoever dies, or is paused, loses it soon.
Then the same step may be done by two at the same time, and every kind of task has to allow for that.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from imagerepo.errors import DamagedError, ImagerepoError, UnavailableError
from imagerepo.flows.work import Attempts, later, now
from imagerepo.model.task import Task, TaskKind
from imagerepo.ports.tasks import Tasks

log = logging.getLogger(__name__)

_LEASE: Final = 30.0  # seconds; after that another goes on with what a dead worker had
_SPELL: Final = 20.0  # seconds after which a thread leaves its place to another queue
_EXTEND: Final = 8.0  # seconds between extensions of it


@dataclass(frozen=True, slots=True)
class Again:
    """What is left of a task after a step."""

    payload: str  # JSON, as its kind has it
    due_at: datetime  # aware, UTC


Step = Callable[[Task, threading.Event], Again | None]
"""Does a step of a task, or all of it, until the event is set; None: it is done.

Raises:
    UnavailableError: it is tried again, without end.
    DamagedError: a person has to look; it is parked at once.
    ImagerepoError: it is tried again, and parked after some attempts.
"""


class Steps:
    """Does the tasks of one kind (work.Handler): of each queue one at a time in a process."""

    def __init__(self, kind: TaskKind, step: Step, tasks: Tasks, attempts: Attempts, width: int = 1) -> None:
        """`width`: lanes of a queue that are worked on at the same time in a process."""
        self.kind = kind
        self._step = step
        self._tasks = tasks
        self._attempts = attempts
        self._width = width

    def width(self, queue: str) -> int:  # noqa: ARG002 - every queue has the same
        """As many as was said."""
        return self._width

    def work(self, queue: str, stop: threading.Event) -> None:
        """Do what is due, one step after another, for a while."""
        until = time.monotonic() + _SPELL
        while not stop.is_set() and time.monotonic() < until:
            batch = self._tasks.lease(self.kind, queue, now(), later(_LEASE), 1)
            if not batch:
                return
            with self._kept(batch[0]):
                again = self._try(batch[0], stop)
            if again is not None:
                self._tasks.renew(batch[0].id, again.payload, again.due_at)

    def _try(self, task: Task, stop: threading.Event) -> Again | None:
        """What is left to be done now that nothing went wrong; else what becomes of it is settled."""
        try:
            again = self._step(task, stop)
        except UnavailableError as error:
            self._attempts.task_kept(task, str(error))
        except DamagedError as error:
            self._attempts.task_hopeless(task, str(error))
        except ImagerepoError as error:
            self._attempts.task_failed(task, str(error))
        except Exception as error:
            # The edge of a task: a defect of ours is to be seen at the task, not tried for ever without a word.
            log.exception("task.defect", extra={"task": task.id, "kind": task.kind})
            self._attempts.task_failed(task, f"{type(error).__name__}: {error}")
        else:
            if again is None:
                self._tasks.finish([task.id])
            return again
        return None

    @contextmanager
    def _kept(self, task: Task) -> Generator[None]:
        """Extend the lease as long as this lasts."""
        over = threading.Event()
        thread = threading.Thread(target=self._keep, args=(task, over), name=f"lease {task.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _keep(self, task: Task, over: threading.Event) -> None:
        while not over.wait(_EXTEND):
            try:
                self._tasks.extend([task.id], later(_LEASE))
            except UnavailableError as error:
                log.warning("task.not_extended", extra={"task": task.id, "reason": str(error)})
