"""Deferred work: what has to be done, where it stands."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class TaskKind(StrEnum):
    """What has to be done; the label `kind` of imagerepo_tasks_pending."""

    FORWARD = "forward"
    COMMITMENT = "commitment"
    WEBHOOK = "webhook"  # what changed, to who is to be told
    COMPACT = "compact"  # instances that lie alone, into bundles
    SWEEP = "sweep"  # objects that no row names
    SCRUB = "scrub"  # whether bytes are still what was stored
    REINDEX = "reindex"  # attributes, read again from the bytes


class TaskState(StrEnum):
    """Where a task stands. One that is done is gone."""

    WAITING = "waiting"  # for its turn, or for when it is tried again
    PARKED = "parked"  # tried often enough: a person has to look


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be added."""

    kind: TaskKind
    institution: str
    queue: str  # tasks that need the same thing from outside, and wait together while it is not to be had
    lane: str  # within a queue: tasks of one lane are done one after another, in order of adding
    name: str  # within a queue: while a task has it, another of that name is not added
    payload: str  # JSON, as its kind has it
    due_at: datetime  # aware, UTC


@dataclass(frozen=True, slots=True)
class Task:
    """A task that is there."""

    id: int  # in order of adding
    kind: TaskKind
    institution: str
    queue: str
    lane: str
    name: str
    payload: str
    state: TaskState
    attempts: int  # that failed
    created_at: datetime  # aware, UTC
    due_at: datetime  # aware, UTC
    problem: str  # of the last attempt; '' if none failed


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue that has tasks, or had trouble."""

    kind: TaskKind
    name: str
    waiting: int
    parked: int
    failures: int  # in a row, of what all its tasks need
    due_at: datetime | None  # when it is tried again; None: nothing keeps it
    problem: str  # of the last failure; '' if none
