"""Deferred work that survives whoever does it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from imagerepo.model.task import NewTask, Queue, Task, TaskKind, TaskState
from imagerepo.ports.feed import Marks


@dataclass(frozen=True, slots=True)
class Selection:
    """Some tasks; None means any."""

    kind: TaskKind | None = None
    queue: str | None = None
    state: TaskState | None = None
    name: str | None = None
    ids: tuple[int, ...] | None = None


class Tasks(Protocol):
    """Tasks of all kinds. Safe to call from any number of threads and processes.

    Promises:
    - What a call has done when it returns survives `kill -9` and loss of power.
    - A task is there until `finish` or `drop`: whoever leased it and died does not take it along. So a task may be
      begun more than once, and whoever does it has to allow for that.
    - Of one lane only one owner has tasks at a time. An owner is whoever leases: a process tree, from its start.

    All raise UnavailableError; then nothing has changed.
    """

    def add(self, tasks: Sequence[NewTask]) -> None:
        """Add tasks, in order; those whose name is in their queue already are left as they are."""
        ...

    def follow(self, follower: str, marks: Marks, tasks: Sequence[NewTask], since: Marks | None) -> None:
        """Add tasks and remember how far commits were followed for them, both or neither.

        Args:
            follower: who follows; of any number of processes, one at a time gets further.
            marks: how far; those of writers that are not named stay.
            tasks: what the commits up to there call for.
            since: what `followed` said before.

        Raises:
            OvertakenError: `followed` says something else by now; nothing has changed.
        """
        ...

    def followed(self, follower: str) -> Marks | None:
        """How far commits were followed; None: never."""
        ...

    def unfollow(self, follower: str) -> None:
        """Forget how far commits were followed."""
        ...

    def due(self, kind: TaskKind, now: datetime) -> Sequence[str]:
        """Queues that nothing keeps and that have tasks whose time has come."""
        ...

    def lease(self, kind: TaskKind, queue: str, now: datetime, until: datetime, limit: int) -> Sequence[Task]:
        """Tasks of one lane that are due, in order, for the caller alone until then: the lane that waits longest.

        Nothing while the queue is kept from being worked on.
        """
        ...

    def extend(self, ids: Sequence[int], until: datetime) -> None:
        """Go on with tasks that were leased, but for those that have gone to another owner since."""
        ...

    def give_back(self, ids: Sequence[int]) -> None:
        """Lease no longer what was not begun; likewise."""
        ...

    def give_back_all(self) -> None:
        """No lease of whoever calls, or of what it was before it began anew, holds any longer."""
        ...

    def finish(self, ids: Sequence[int]) -> None:
        """They are done."""
        ...

    def renew(self, task: int, payload: str, due: datetime) -> None:
        """A step of it is done; it goes on at `due` as `payload` says, as if none had failed.

        Unless it has gone to another owner since.
        """
        ...

    def postpone(self, task: int, due: datetime, problem: str) -> None:
        """An attempt at it failed; it is tried again at `due`, unless it has gone to another owner since."""
        ...

    def park(self, task: int, problem: str) -> None:
        """The last attempt at it failed; likewise."""
        ...

    def keep(self, kind: TaskKind, queue: str, until: datetime, problem: str) -> None:
        """What the queue's tasks need is not to be had; nothing of it is leased before `until`."""
        ...

    def clear(self, kind: TaskKind, queue: str) -> None:
        """It is to be had again."""
        ...

    def queues(self) -> Sequence[Queue]:
        """All queues."""
        ...

    def pending(self) -> Mapping[TaskKind, int]:
        """How many tasks there are, parked ones included; every kind is named."""
        ...

    def page(self, selection: Selection, after: int, limit: int) -> Sequence[Task]:
        """Tasks in order of adding, after the one with that id; 0 to begin."""
        ...

    def retry(self, selection: Selection) -> int:
        """Have them tried at once, as if for the first time, and their queues too; how many."""
        ...

    def drop(self, selection: Selection) -> int:
        """Remove them, done or not; how many."""
        ...
