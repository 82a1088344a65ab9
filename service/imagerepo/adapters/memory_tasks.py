"""Tasks in memory (ports.tasks.Tasks), for tests and for nothing that has to last."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count

from imagerepo.errors import OvertakenError
from imagerepo.model.task import NewTask, Queue, Task, TaskKind, TaskState
from imagerepo.ports.feed import Marks
from imagerepo.ports.tasks import Selection

_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Kept:
    """What keeps a queue from being worked on."""

    failures: int
    due_at: datetime
    problem: str


class MemoryTasks:
    """One lock over all."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._ids = count(1)
        self._tasks: dict[int, Task] = {}
        self._leased: dict[int, datetime] = {}
        self._kept: dict[tuple[TaskKind, str], _Kept] = {}
        self._followed: dict[str, Marks] = {}

    def add(self, tasks: Sequence[NewTask]) -> None:
        """Add tasks whose names are new to their queues."""
        with self._lock:
            for one in tasks:
                if any(self._select(Selection(one.kind, one.queue, name=one.name))):
                    continue
                number, now = next(self._ids), datetime.now(UTC)
                self._tasks[number] = Task(
                    number,
                    one.kind,
                    one.institution,
                    one.queue,
                    one.lane,
                    one.name,
                    one.payload,
                    TaskState.WAITING,
                    0,
                    now,
                    one.due_at,
                    "",
                )

    def follow(self, follower: str, marks: Marks, tasks: Sequence[NewTask], since: Marks | None) -> None:
        """Add tasks and remember how far commits were followed."""
        with self._lock:
            if self._followed.get(follower) != since:
                raise OvertakenError(f"another process has followed the commits for {follower}")
            self.add(tasks)
            self._followed[follower] = {**self._followed.get(follower, {}), **marks}

    def followed(self, follower: str) -> Marks | None:
        """How far commits were followed."""
        return self._followed.get(follower)

    def unfollow(self, follower: str) -> None:
        """Forget how far commits were followed."""
        self._followed.pop(follower, None)

    def due(self, kind: TaskKind, now: datetime) -> Sequence[str]:
        """Queues that can be worked on."""
        with self._lock:
            return sorted({one.queue for one in self._select(Selection(kind)) if self._is_due(one, now)})

    def lease(self, kind: TaskKind, queue: str, now: datetime, until: datetime, limit: int) -> Sequence[Task]:
        """Tasks of the lane that waits longest."""
        with self._lock:
            busy = {
                self._tasks[one].lane
                for one, end in self._leased.items()
                if end > now and (self._tasks[one].kind, self._tasks[one].queue) == (kind, queue)
            }
            due = [one for one in self._select(Selection(kind, queue)) if self._is_due(one, now)]
            free = [one for one in due if one.lane not in busy]
            tasks = [one for one in free if one.lane == free[0].lane][:limit]
            self._leased.update((one.id, until) for one in tasks)
            return tasks

    def _is_due(self, task: Task, now: datetime) -> bool:
        kept = self._kept.get((task.kind, task.queue))
        return (
            task.state is TaskState.WAITING
            and task.due_at <= now
            and self._leased.get(task.id, _LONG_AGO) <= now
            and (kept is None or kept.due_at <= now)
        )

    def extend(self, ids: Sequence[int], until: datetime) -> None:
        """Go on with tasks that were leased."""
        with self._lock:
            self._leased.update((one, until) for one in ids if one in self._tasks)

    def give_back(self, ids: Sequence[int]) -> None:
        """Lease no longer what was not begun."""
        with self._lock:
            for one in ids:
                self._leased.pop(one, None)

    def give_back_all(self) -> None:
        """No lease holds any longer."""
        with self._lock:
            self._leased.clear()

    def finish(self, ids: Sequence[int]) -> None:
        """They are done."""
        with self._lock:
            self.give_back(ids)
            for one in ids:
                self._tasks.pop(one, None)

    def renew(self, task: int, payload: str, due: datetime) -> None:
        """A step of it is done."""
        with self._lock:
            self.give_back([task])
            self._tasks[task] = replace(self._tasks[task], attempts=0, problem="", payload=payload, due_at=due)

    def postpone(self, task: int, due: datetime, problem: str) -> None:
        """An attempt failed."""
        with self._lock:
            self.give_back([task])
            was = self._tasks[task]
            self._tasks[task] = replace(was, attempts=was.attempts + 1, due_at=due, problem=problem)

    def park(self, task: int, problem: str) -> None:
        """The last attempt failed."""
        with self._lock:
            self.postpone(task, self._tasks[task].due_at, problem)
            self._tasks[task] = replace(self._tasks[task], state=TaskState.PARKED)

    def keep(self, kind: TaskKind, queue: str, until: datetime, problem: str) -> None:
        """Lease nothing of the queue before `until`."""
        with self._lock:
            was = self._kept.get((kind, queue))
            self._kept[kind, queue] = _Kept(was.failures + 1 if was is not None else 1, until, problem)

    def clear(self, kind: TaskKind, queue: str) -> None:
        """Nothing keeps the queue."""
        with self._lock:
            self._kept.pop((kind, queue), None)

    def queues(self) -> Sequence[Queue]:
        """All queues."""
        with self._lock:
            names = {(one.kind, one.queue) for one in self._tasks.values()} | set(self._kept)
            return [self._queue(*name) for name in sorted(names)]

    def _queue(self, kind: TaskKind, name: str) -> Queue:
        states = [one.state for one in self._select(Selection(kind, name))]
        waiting, parked = states.count(TaskState.WAITING), states.count(TaskState.PARKED)
        kept = self._kept.get((kind, name))
        if kept is None:
            return Queue(kind, name, waiting, parked, 0, None, "")
        return Queue(kind, name, waiting, parked, kept.failures, kept.due_at, kept.problem)

    def pending(self) -> Mapping[TaskKind, int]:
        """How many there are."""
        with self._lock:
            return {kind: len(list(self._select(Selection(kind)))) for kind in TaskKind}

    def page(self, selection: Selection, after: int, limit: int) -> Sequence[Task]:
        """Tasks in order of adding."""
        with self._lock:
            return [one for one in self._select(selection) if one.id > after][:limit]

    def retry(self, selection: Selection) -> int:
        """Have them tried at once."""
        with self._lock:
            found = list(self._select(selection))
            for one in found:
                self._kept.pop((one.kind, one.queue), None)
                self._tasks[one.id] = replace(one, state=TaskState.WAITING, attempts=0, due_at=_LONG_AGO)
            return len(found)

    def drop(self, selection: Selection) -> int:
        """Remove them."""
        with self._lock:
            found = [one.id for one in self._select(selection)]
            self.finish(found)
            return len(found)

    def _select(self, selection: Selection) -> Iterator[Task]:
        for one in list(self._tasks.values()):
            asked = (selection.kind, selection.queue, selection.state, selection.name)
            has = (one.kind, one.queue, one.state, one.name)
            if all(want in {None, found} for want, found in zip(asked, has, strict=True)) and (
                selection.ids is None or one.id in selection.ids
            ):
                yield one
