"""Rows of tasks to values, whichever database they come from."""

from collections.abc import Sequence
from typing import Any, Final

from imagerepo.adapters.moments import moment
from imagerepo.model.task import Queue, Task, TaskKind, TaskState
from imagerepo.ports.feed import Mark, Marks

COLUMNS: Final = "id, kind, institution, queue, lane, name, payload, state, attempts, created_at, due_at, problem"
LONGEST_PROBLEM: Final = 500  # characters
KINDS: Final = frozenset(TaskKind)
"""Those of a later release, which may be there while the cluster is upgraded, are none of this one's business."""
IS_KNOWN: Final = "kind IN ('" + "', '".join(TaskKind) + "')"
"""A condition by which other kinds are passed over."""
NOBODY: Final = ""
"""A writer of that name says that there is a follower, though nobody has written yet."""


def task(row: Sequence[Any]) -> Task:
    """A row of COLUMNS."""
    number, kind, institution, queue, lane, name, payload, state, attempts, created_at, due_at, problem = row
    return Task(
        number,
        TaskKind(kind),
        institution,
        queue,
        lane,
        name,
        payload,
        TaskState(state),
        attempts,
        moment(created_at),
        moment(due_at),
        problem,
    )


def queue(row: Sequence[Any]) -> Queue:
    """A row of kind, name, how many wait, how many are parked, failures, due_at, problem."""
    kind, name, waiting, parked, failures, due, problem = row
    return Queue(TaskKind(kind), name, waiting, parked, failures, None if due is None else moment(due), problem)


def marks(rows: Sequence[Sequence[Any]]) -> Marks | None:
    """Rows of writer, segment, position of one follower; None: there is no such follower."""
    if not rows:
        return None
    return {writer: Mark(segment, position) for writer, segment, position in rows if writer != NOBODY}
