"""Tasks in PostgreSQL (ports.tasks.Tasks), for any number of replicas.

Whoever leases holds the lane's advisory lock in the transaction that takes its tasks; a lane that is being leased is
passed over, not waited for. Rows are locked in the order of their keys.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from imagerepo.adapters import task_rows
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.settled import in_transaction
from imagerepo.adapters.task_rows import COLUMNS, IS_KNOWN, KINDS, LONGEST_PROBLEM, NOBODY
from imagerepo.errors import OvertakenError
from imagerepo.model.task import NewTask, Queue, Task, TaskKind
from imagerepo.ports.feed import Marks
from imagerepo.ports.tasks import Selection

# In order: what is unnested keeps it, and so do the keys that are counted while it is read.
_ADD: Final = (
    "INSERT INTO task (kind, institution, queue, lane, name, payload, due_at, state, created_at) "
    "SELECT kind, institution, queue, lane, name, payload, due_at, 'waiting', %s "
    "FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[]) "
    "WITH ORDINALITY AS n (kind, institution, queue, lane, name, payload, due_at, place) ORDER BY place "
    "ON CONFLICT (kind, queue, name) DO NOTHING"
)
_FOLLOWED: Final = "SELECT writer, segment, position FROM followed WHERE follower = %s"
_ADVANCE: Final = (
    "INSERT INTO followed (follower, writer, segment, position) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (follower, writer) DO UPDATE SET segment = excluded.segment, position = excluded.position"
)
_ALONE: Final = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))"
_TRY_ALONE: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"

_IS_READY: Final = "t.due_at <= %(now)s AND t.leased_until <= %(now)s"
# By the one index that has this order, since others would do for rows of one queue: none has to look at other queues.
_WAITING_IN: Final = (
    "t.kind = %(kind)s AND (t.queue, t.state) >= ({queue}, 'waiting') AND (t.queue, t.state) <= ({queue}, 'waiting')"
)
_IN_ORDER: Final = "ORDER BY t.queue, t.state, t.id"
_KEPT: Final = "EXISTS (SELECT 1 FROM queue q WHERE q.kind = %(kind)s AND q.name = {queue} AND q.due_at > %(now)s)"
# From queue to queue through the index, however many tasks each has.
_DUE: Final = (
    "WITH RECURSIVE one (name) AS ("
    "(SELECT queue FROM task WHERE kind = %(kind)s ORDER BY queue LIMIT 1) UNION ALL "
    "SELECT (SELECT queue FROM task WHERE kind = %(kind)s AND queue > one.name ORDER BY queue LIMIT 1) "
    "FROM one WHERE one.name IS NOT NULL) "
    "SELECT name FROM one CROSS JOIN LATERAL ("
    f"SELECT 1 FROM task t WHERE {_WAITING_IN.format(queue='one.name')} AND {_IS_READY} {_IN_ORDER} LIMIT 1) found "
    f"WHERE NOT {_KEPT.format(queue='one.name')} ORDER BY name"
)
_LEASED: Final = (
    "FROM task o WHERE o.kind = %(kind)s AND o.queue = %(queue)s AND o.leased_until > 0 AND o.leased_until > %(now)s"
)
_NEXT_LANE: Final = (
    f"SELECT t.lane FROM task t WHERE {_WAITING_IN.format(queue='%(queue)s')} AND {_IS_READY} "
    f"AND t.lane <> ALL (%(passed)s::text[]) AND t.lane <> ALL (ARRAY(SELECT DISTINCT o.lane {_LEASED})) "
    f"AND NOT {_KEPT.format(queue='%(queue)s')} {_IN_ORDER} LIMIT 1"
)
_LEASE: Final = (
    "UPDATE task SET leased_until = %(until)s, owner = %(owner)s WHERE id IN ("
    "SELECT t.id FROM task t WHERE t.kind = %(kind)s AND t.queue = %(queue)s AND t.lane = %(lane)s "
    f"AND t.state = 'waiting' AND {_IS_READY} AND NOT EXISTS (SELECT 1 {_LEASED} AND o.lane = %(lane)s) "
    f"AND NOT {_KEPT.format(queue='%(queue)s')} "
    f"ORDER BY t.kind, t.queue, t.lane, t.id LIMIT %(limit)s FOR UPDATE) RETURNING {COLUMNS}"
)
# Whoever had a lease that went to another since has nothing to say any more.
_MINE: Final = "id IN (SELECT id FROM task WHERE id = ANY (%s) AND owner = %s ORDER BY id FOR UPDATE)"
_EXTEND: Final = f"UPDATE task SET leased_until = %s WHERE {_MINE}"
_POSTPONE: Final = (
    f"UPDATE task SET attempts = attempts + 1, due_at = %s, problem = %s, leased_until = 0 WHERE {_MINE}"
)
_PARK: Final = (
    f"UPDATE task SET attempts = attempts + 1, state = 'parked', problem = %s, leased_until = 0 WHERE {_MINE}"
)
_RENEW: Final = (
    f"UPDATE task SET attempts = 0, problem = '', payload = %s, due_at = %s, leased_until = 0 WHERE {_MINE}"
)
_GIVE_BACK_ALL: Final = (
    "UPDATE task SET leased_until = 0 WHERE id IN "
    "(SELECT id FROM task WHERE leased_until > 0 AND owner = %s ORDER BY id FOR UPDATE)"
)
_KEEP: Final = (
    "INSERT INTO queue (kind, name, failures, due_at, problem) VALUES (%s, %s, 1, %s, %s) ON CONFLICT (kind, name) "
    "DO UPDATE SET failures = queue.failures + 1, due_at = excluded.due_at, problem = excluded.problem"
)
_QUEUES: Final = (
    "SELECT k.kind, k.name, sum(k.waiting)::bigint, sum(k.parked)::bigint, coalesce(max(q.failures), 0), "
    "max(q.due_at), coalesce(max(q.problem), '') FROM ("
    "SELECT kind, queue AS name, count(*) FILTER (WHERE state = 'waiting') AS waiting, "
    "count(*) FILTER (WHERE state = 'parked') AS parked FROM task GROUP BY kind, queue "
    "UNION ALL SELECT kind, name, 0, 0 FROM queue"
    ") k LEFT JOIN queue q ON q.kind = k.kind AND q.name = k.name GROUP BY k.kind, k.name ORDER BY k.kind, k.name"
)


class PostgresTasks:
    """The tasks, for one owner of leases."""

    def __init__(self, database: Database, owner: str) -> None:
        """`owner`: names this process tree, and no other; it may be the one that it had before it began anew."""
        self._database = database
        self._owner = owner

    def add(self, tasks: Sequence[NewTask]) -> None:
        """Add tasks whose names are new to their queues."""
        if tasks:
            in_transaction(self._database, lambda connection: _add(connection, tasks))

    def follow(self, follower: str, marks: Marks, tasks: Sequence[NewTask], since: Marks | None) -> None:
        """Add tasks and remember how far commits were followed."""
        rows = [(follower, writer, mark.segment, mark.position) for writer, mark in marks.items()]

        def followed(connection: Connection) -> None:
            connection.execute(_ALONE, (f"follow {follower}",))
            if task_rows.marks(connection.execute(_FOLLOWED, (follower,)).fetchall()) != since:
                raise OvertakenError(f"another process has followed the commits for {follower}")
            _add(connection, tasks)
            with connection.cursor() as cursor:
                cursor.executemany(_ADVANCE, [(follower, NOBODY, "", 0), *rows])

        in_transaction(self._database, followed)

    def followed(self, follower: str) -> Marks | None:
        """How far commits were followed."""
        return task_rows.marks(self._rows(_FOLLOWED, (follower,)))

    def unfollow(self, follower: str) -> None:
        """Forget how far commits were followed."""
        self._change("DELETE FROM followed WHERE follower = %s", (follower,))

    def due(self, kind: TaskKind, now: datetime) -> Sequence[str]:
        """Queues that can be worked on."""
        with self._database.reading() as connection:
            return [name for (name,) in connection.execute(_DUE, {"kind": kind.value, "now": microseconds(now)})]

    def lease(self, kind: TaskKind, queue: str, now: datetime, until: datetime, limit: int) -> Sequence[Task]:
        """Tasks of the lane that waits longest, of those that nobody else is about to lease."""
        asked: dict[str, object] = {
            "kind": kind.value,
            "queue": queue,
            "now": microseconds(now),
            "until": microseconds(until),
            "limit": limit,
            "owner": self._owner,
            "passed": [],
        }
        with self._database.reading() as connection:
            if connection.execute(_NEXT_LANE, asked).fetchone() is None:
                return []
        return in_transaction(self._database, lambda connection: _lease(connection, asked))

    def extend(self, ids: Sequence[int], until: datetime) -> None:
        """Go on with tasks that were leased."""
        self._change(_EXTEND, (microseconds(until), list(ids), self._owner))

    def give_back(self, ids: Sequence[int]) -> None:
        """Lease no longer what was not begun."""
        if ids:
            self._change(_EXTEND, (0, list(ids), self._owner))

    def give_back_all(self) -> None:
        """No lease of this owner holds any longer."""
        self._change(_GIVE_BACK_ALL, (self._owner,))

    def finish(self, ids: Sequence[int]) -> None:
        """They are done, whoever has the lease by now."""
        if ids:
            self._change("DELETE FROM task WHERE id = ANY (%s)", (sorted(ids),))

    def renew(self, task: int, payload: str, due: datetime) -> None:
        """A step of it is done."""
        self._change(_RENEW, (payload, microseconds(due), [task], self._owner))

    def postpone(self, task: int, due: datetime, problem: str) -> None:
        """An attempt failed."""
        self._change(_POSTPONE, (microseconds(due), problem[:LONGEST_PROBLEM], [task], self._owner))

    def park(self, task: int, problem: str) -> None:
        """The last attempt failed."""
        self._change(_PARK, (problem[:LONGEST_PROBLEM], [task], self._owner))

    def keep(self, kind: TaskKind, queue: str, until: datetime, problem: str) -> None:
        """Lease nothing of the queue before `until`."""
        self._change(_KEEP, (kind.value, queue, microseconds(until), problem[:LONGEST_PROBLEM]))

    def clear(self, kind: TaskKind, queue: str) -> None:
        """Nothing keeps the queue."""
        if self._rows("SELECT 1 FROM queue WHERE kind = %s AND name = %s", (kind.value, queue)):
            self._change("DELETE FROM queue WHERE kind = %s AND name = %s", (kind.value, queue))

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
        query = f"SELECT {COLUMNS} FROM task WHERE {where} AND {IS_KNOWN} AND id > %s ORDER BY id LIMIT %s"
        return [task_rows.task(row) for row in self._rows(query, (*values, after, limit))]

    def retry(self, selection: Selection) -> int:
        """Have them tried at once."""
        where, values = _where(selection)

        def retried(connection: Connection) -> int:
            connection.run(
                f"DELETE FROM queue WHERE (kind, name) IN (SELECT kind, queue FROM task WHERE {where})", values
            )
            chosen = f"SELECT id FROM task WHERE {where} ORDER BY id FOR UPDATE"
            return connection.run(
                f"UPDATE task SET state = 'waiting', attempts = 0, due_at = 0 WHERE id IN ({chosen})", values
            ).rowcount

        return in_transaction(self._database, retried)

    def drop(self, selection: Selection) -> int:
        """Remove them."""
        where, values = _where(selection)
        chosen = f"SELECT id FROM task WHERE {where} ORDER BY id FOR UPDATE"
        return self._change(f"DELETE FROM task WHERE id IN ({chosen})", values)

    def _change(self, statement: str, values: Sequence[object]) -> int:
        return in_transaction(self._database, lambda connection: connection.run(statement, values).rowcount)

    def _rows(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        with self._database.reading() as connection:
            return connection.run(query, values).fetchall()


def _add(connection: Connection, tasks: Sequence[NewTask]) -> None:
    if not tasks:
        return
    columns = zip(
        *(
            (one.kind.value, one.institution, one.queue, one.lane, one.name, one.payload, microseconds(one.due_at))
            for one in tasks
        ),
        strict=True,
    )
    connection.execute(_ADD, (microseconds(datetime.now(UTC)), *map(list, columns)))


def _lease(connection: Connection, asked: dict[str, object]) -> list[Task]:
    passed: list[str] = []
    while (row := connection.execute(_NEXT_LANE, {**asked, "passed": passed}).fetchone()) is not None:
        lane: str = row[0]
        mutex = "\n".join(("lane", str(asked["kind"]), str(asked["queue"]), lane))
        if connection.execute(_TRY_ALONE, (mutex,)).fetchone() == (True,):
            # Looked at again, by a statement that sees what the last one to hold the lock has done.
            taken = connection.execute(_LEASE, {**asked, "lane": lane}).fetchall()
            if taken:
                return sorted(map(task_rows.task, taken), key=lambda task: task.id)
        passed.append(lane)
    return []


def _where(selection: Selection) -> tuple[str, tuple[object, ...]]:
    asked = {"kind": selection.kind, "queue": selection.queue, "state": selection.state, "name": selection.name}
    conditions = ["true", *(f"{column} = %s" for column, value in asked.items() if value is not None)]
    values: list[object] = [str(value) for value in asked.values() if value is not None]
    if selection.ids is not None:
        conditions.append("id = ANY (%s)")
        values.append(list(selection.ids))
    return " AND ".join(conditions), tuple(values)
