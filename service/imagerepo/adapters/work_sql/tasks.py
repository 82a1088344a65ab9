"""Tasks in SQLite (ports.tasks.Tasks)."""

import sqlite3
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from imagerepo.adapters import task_rows
from imagerepo.adapters.index_sql.engine import PerThread
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.task_rows import COLUMNS, IS_KNOWN, KINDS, LONGEST_PROBLEM, NOBODY
from imagerepo.adapters.work_sql.engine import connect, reading, transaction
from imagerepo.errors import OvertakenError
from imagerepo.model.task import NewTask, Queue, Task, TaskKind
from imagerepo.ports.feed import Marks
from imagerepo.ports.tasks import Selection

_ADD: Final = (
    "INSERT INTO task (kind, institution, queue, lane, name, payload, state, created_at, due_at) "
    "VALUES (?, ?, ?, ?, ?, ?, 'waiting', ?, ?) ON CONFLICT (kind, queue, name) DO NOTHING"
)
_ADVANCE: Final = (
    "INSERT INTO followed (follower, writer, segment, position) VALUES (?, ?, ?, ?) ON CONFLICT (follower, writer) "
    "DO UPDATE SET segment = excluded.segment, position = excluded.position"
)
_FOLLOWED: Final = "SELECT writer, segment, position FROM followed WHERE follower = ?"
_KEPT: Final = "EXISTS (SELECT 1 FROM queue q WHERE q.kind = t.kind AND q.name = t.queue AND q.due_at > :now)"
# One step from queue to queue through the index, however many tasks each has.
_NEXT_QUEUE: Final = "SELECT min(queue) FROM task WHERE kind = ? AND queue > ?"
_IS_DUE: Final = (
    "SELECT 1 FROM task t WHERE kind = :kind AND queue = :queue AND state = 'waiting' AND due_at <= :now "
    f"AND leased_until <= :now AND NOT {_KEPT} LIMIT 1"
)
_NEXT_LANE: Final = (
    "SELECT lane FROM task t WHERE kind = :kind AND queue = :queue AND state = 'waiting' AND due_at <= :now "
    f"AND leased_until <= :now AND NOT {_KEPT} AND lane NOT IN "
    "(SELECT lane FROM task o WHERE o.leased_until > :now AND o.kind = :kind AND o.queue = :queue) "
    "ORDER BY id LIMIT 1"
)
_OF_LANE: Final = (
    f"SELECT {COLUMNS} FROM task WHERE kind = :kind AND queue = :queue AND lane = :lane AND state = 'waiting' "
    "AND due_at <= :now ORDER BY id LIMIT :limit"
)
_LEASE: Final = "UPDATE task SET leased_until = ? WHERE id = ?"
_POSTPONE: Final = "UPDATE task SET attempts = attempts + 1, due_at = ?, problem = ?, leased_until = 0 WHERE id = ?"
_PARK: Final = "UPDATE task SET attempts = attempts + 1, state = 'parked', problem = ?, leased_until = 0 WHERE id = ?"
_RENEW: Final = "UPDATE task SET attempts = 0, problem = '', payload = ?, due_at = ?, leased_until = 0 WHERE id = ?"
_KEEP: Final = (
    "INSERT INTO queue (kind, name, failures, due_at, problem) VALUES (?, ?, 1, ?, ?) ON CONFLICT (kind, name) "
    "DO UPDATE SET failures = failures + 1, due_at = excluded.due_at, problem = excluded.problem"
)
_QUEUES: Final = (
    "SELECT k.kind, k.name, sum(k.waiting), sum(k.parked), coalesce(max(q.failures), 0), max(q.due_at), "
    "coalesce(max(q.problem), '') FROM ("
    "SELECT kind, queue AS name, sum(state = 'waiting') AS waiting, sum(state = 'parked') AS parked "
    "FROM task GROUP BY kind, queue "
    "UNION ALL SELECT kind, name, 0, 0 FROM queue"
    ") k LEFT JOIN queue q ON q.kind = k.kind AND q.name = k.name GROUP BY k.kind, k.name ORDER BY k.kind, k.name"
)


class SqlTasks:
    """Works through one connection a thread."""

    def __init__(self, data: Path) -> None:
        """Use the data folder's work.sqlite, whose schema is this program's."""
        self._connections = PerThread(lambda: connect(data))

    def add(self, tasks: Sequence[NewTask]) -> None:
        """Add tasks whose names are new to their queues."""
        if tasks:
            with transaction(self._connection()) as connection:
                connection.executemany(_ADD, map(_values, tasks))

    def follow(self, follower: str, marks: Marks, tasks: Sequence[NewTask], since: Marks | None) -> None:
        """Add tasks and remember how far commits were followed."""
        with transaction(self._connection()) as connection:
            if task_rows.marks(connection.execute(_FOLLOWED, (follower,)).fetchall()) != since:
                raise OvertakenError(f"another process has followed the commits for {follower}")
            connection.executemany(_ADD, map(_values, tasks))
            rows = [(follower, writer, mark.segment, mark.position) for writer, mark in marks.items()]
            connection.executemany(_ADVANCE, [(follower, NOBODY, "", 0), *rows])

    def followed(self, follower: str) -> Marks | None:
        """How far commits were followed."""
        return task_rows.marks(self._rows(_FOLLOWED, (follower,)))

    def unfollow(self, follower: str) -> None:
        """Forget how far commits were followed."""
        with transaction(self._connection()) as connection:
            connection.execute("DELETE FROM followed WHERE follower = ?", (follower,))

    def due(self, kind: TaskKind, now: datetime) -> Sequence[str]:
        """Queues that can be worked on."""
        found: list[str] = []
        queue: str | None = ""
        while (queue := self._rows(_NEXT_QUEUE, (kind, queue))[0][0]) is not None:
            if self._rows(_IS_DUE, {"kind": kind, "queue": queue, "now": microseconds(now)}):
                found.append(queue)
        return found

    def lease(self, kind: TaskKind, queue: str, now: datetime, until: datetime, limit: int) -> Sequence[Task]:
        """Tasks of the lane that waits longest."""
        asked: dict[str, str | int] = {"kind": kind, "queue": queue, "now": microseconds(now), "limit": limit}
        if not self._rows(_NEXT_LANE, asked):
            return []
        with transaction(self._connection()) as connection:
            lane = connection.execute(_NEXT_LANE, asked).fetchone()
            if lane is None:
                return []
            tasks = [task_rows.task(row) for row in connection.execute(_OF_LANE, {**asked, "lane": lane[0]})]
            connection.executemany(_LEASE, [(microseconds(until), task.id) for task in tasks])
        return tasks

    def extend(self, ids: Sequence[int], until: datetime) -> None:
        """Go on with tasks that were leased."""
        with transaction(self._connection()) as connection:
            connection.executemany(_LEASE, [(microseconds(until), one) for one in ids])

    def give_back(self, ids: Sequence[int]) -> None:
        """Lease no longer what was not begun."""
        if ids:
            with transaction(self._connection()) as connection:
                connection.executemany(_LEASE, [(0, one) for one in ids])

    def give_back_all(self) -> None:
        """No lease holds any longer."""
        with transaction(self._connection()) as connection:
            connection.execute("UPDATE task SET leased_until = 0 WHERE leased_until > 0")

    def finish(self, ids: Sequence[int]) -> None:
        """They are done."""
        if ids:
            with transaction(self._connection()) as connection:
                connection.executemany("DELETE FROM task WHERE id = ?", [(one,) for one in ids])

    def renew(self, task: int, payload: str, due: datetime) -> None:
        """A step of it is done."""
        with transaction(self._connection()) as connection:
            connection.execute(_RENEW, (payload, microseconds(due), task))

    def postpone(self, task: int, due: datetime, problem: str) -> None:
        """An attempt failed."""
        with transaction(self._connection()) as connection:
            connection.execute(_POSTPONE, (microseconds(due), problem[:LONGEST_PROBLEM], task))

    def park(self, task: int, problem: str) -> None:
        """The last attempt failed."""
        with transaction(self._connection()) as connection:
            connection.execute(_PARK, (problem[:LONGEST_PROBLEM], task))

    def keep(self, kind: TaskKind, queue: str, until: datetime, problem: str) -> None:
        """Lease nothing of the queue before `until`."""
        with transaction(self._connection()) as connection:
            connection.execute(_KEEP, (kind, queue, microseconds(until), problem[:LONGEST_PROBLEM]))

    def clear(self, kind: TaskKind, queue: str) -> None:
        """Nothing keeps the queue."""
        if self._rows("SELECT 1 FROM queue WHERE kind = ? AND name = ?", (kind, queue)):
            with transaction(self._connection()) as connection:
                connection.execute("DELETE FROM queue WHERE kind = ? AND name = ?", (kind, queue))

    def queues(self) -> Sequence[Queue]:
        """All queues."""
        return [task_rows.queue(row) for row in self._rows(_QUEUES, ()) if row[0] in KINDS]

    def pending(self) -> Mapping[TaskKind, int]:
        """How many there are."""
        rows = self._rows("SELECT kind, count(*) FROM task GROUP BY kind", ())
        return dict.fromkeys(TaskKind, 0) | {TaskKind(kind): count for kind, count in rows if kind in KINDS}

    def page(self, selection: Selection, after: int, limit: int) -> Sequence[Task]:
        """Tasks in order of adding."""
        where, values = _where(selection)
        query = f"SELECT {COLUMNS} FROM task WHERE {where} AND {IS_KNOWN} AND id > ? ORDER BY id LIMIT ?"
        return [task_rows.task(row) for row in self._rows(query, (*values, after, limit))]

    def retry(self, selection: Selection) -> int:
        """Have them tried at once."""
        where, values = _where(selection)
        with transaction(self._connection()) as connection:
            connection.execute(
                f"DELETE FROM queue WHERE (kind, name) IN (SELECT kind, queue FROM task WHERE {where})", values
            )
            return connection.execute(
                f"UPDATE task SET state = 'waiting', attempts = 0, due_at = 0 WHERE {where}", values
            ).rowcount

    def drop(self, selection: Selection) -> int:
        """Remove them."""
        where, values = _where(selection)
        with transaction(self._connection()) as connection:
            return connection.execute(f"DELETE FROM task WHERE {where}", values).rowcount

    def _connection(self) -> sqlite3.Connection:
        with reading():
            return self._connections.get()

    def _rows(self, query: str, values: Sequence[str | int] | Mapping[str, str | int]) -> list[Any]:
        with reading():
            return self._connections.get().execute(query, values).fetchall()


def _where(selection: Selection) -> tuple[str, tuple[str | int, ...]]:
    conditions: list[str] = ["1"]
    values: list[str | int] = []
    asked = {"kind": selection.kind, "queue": selection.queue, "state": selection.state, "name": selection.name}
    for column, value in asked.items():
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    if selection.ids is not None:
        conditions.append(f"id IN ({', '.join('?' * len(selection.ids))})")
        values.extend(selection.ids)
    return " AND ".join(conditions), tuple(values)


def _values(task: NewTask) -> tuple[str | int, ...]:
    now = microseconds(datetime.now(UTC))
    return (
        task.kind,
        task.institution,
        task.queue,
        task.lane,
        task.name,
        task.payload,
        now,
        microseconds(task.due_at),
    )
