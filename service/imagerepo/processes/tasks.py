"""The verbs of deferred work, whether a server runs on the data folder or not."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Final

from imagerepo.model.task import Queue, Task, TaskKind
from imagerepo.ports.tasks import Selection, Tasks
from imagerepo.processes import assembly
from imagerepo.settings import Settings

_PAGE: Final = 500
_SENT: Final = {TaskKind.FORWARD, TaskKind.COMMITMENT}


def opened(settings: Settings) -> Tasks:
    """The tasks of a data folder, or of a cluster. Raises SettingsError, UnavailableError."""
    return assembly.tasks_of(settings)


def found(tasks: Tasks, selection: Selection, limit: int) -> Iterator[Task]:
    """Tasks in order of adding, at most so many."""
    after = 0
    while limit > 0 and (page := tasks.page(selection, after, min(limit, _PAGE))):
        yield from page
        limit -= len(page)
        after = page[-1].id


def queue_as_text(queue: Queue) -> str:
    """One line about a queue."""
    line = f"{_place(queue.kind, queue.name)}: {queue.waiting} waiting, {queue.parked} parked"
    if queue.due_at is None:
        return line
    seconds = max(0.0, (queue.due_at - datetime.now(UTC)).total_seconds())
    return f"{line}; failed {queue.failures} times, tried again in {seconds:.0f} s: {queue.problem}"


def task_as_text(task: Task) -> str:
    """One line about a task."""
    line = f"{task.id} {task.state} {_place(task.kind, task.queue)} {task.name}"
    return f"{line}: failed {task.attempts} times: {task.problem}" if task.attempts else line


def _place(kind: TaskKind, queue: str) -> str:
    return f"{kind} {'to' if kind in _SENT else 'of'} {queue}"


def as_json(queues: Sequence[Queue], tasks: Iterator[Task]) -> str:
    """Queues and tasks for programs."""
    return json.dumps(
        {"queues": [asdict(one) for one in queues], "tasks": [asdict(one) for one in tasks]}, default=_iso
    )


def _iso(moment: object) -> str:
    assert isinstance(moment, datetime)
    return moment.isoformat()
