"""The rows of compaction: what there is of a series, where a new object is announced, and what lies where from now on.

A new object's row is there before the object: it says that the object goes in an hour, as if nothing were left in it.
Whoever is killed before it has versions leaves it to be reclaimed; whoever was stopped for longer than that finds that
it has been, and names nothing. Until it has versions the row has no size: where the database is set back to such a
moment, the object may be the only one that has them, and it is not reclaimed (sweeping.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles.compaction_plan import INSTANCES, Lying
from imagerepo.adapters.bundles.rows import PLACES
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.errors import OvertakenError
from imagerepo.model.uids import Uid
from imagerepo.ports.compaction import Grown

TOO_LATE: Final = "compaction took so long that its object was reclaimed; it begins anew"

_LOCK_WAIT: Final = "2s"  # for what is being stored to the study
_OBJECTS: Final = 2 * INSTANCES  # looked at together; those of a larger series come in turn
_KEYS: Final = (
    "SELECT s.study_id, s.id FROM institution n JOIN study t ON t.institution_id = n.id AND t.uid = %s "
    "JOIN series s ON s.study_id = t.id AND s.uid = %s WHERE n.name = %s"
)
_LYING: Final = (
    "SELECT o.id, o.store, o.key, o.size, sum(r.length)::bigint, count(*), min(i.id), max(i.id), "
    "EXISTS (SELECT 1 FROM reclaim c WHERE c.object_id = o.id) AS torn "
    'FROM instance i JOIN version v ON v.instance_id = i.id JOIN "range" r '
    "ON r.instance_id = v.instance_id AND r.number = v.number JOIN object o ON o.id = r.object_id "
    "WHERE i.study_id = %s AND i.series_id = %s GROUP BY o.id "
    # An object that has anything else, or a part of a version, is none that this knows how to copy.
    "HAVING count(*) = o.live AND bool_and(r.ordinal = 0 AND r.length = v.size) "
    "AND (sum(r.length) < %s OR EXISTS (SELECT 1 FROM reclaim c WHERE c.object_id = o.id)) "
    "ORDER BY min(i.id), o.id LIMIT %s"
)
_HELD: Final = (
    'SELECT i.id, v.number, r.copy, r.object_id, r."offset", r.length, v.commit_number, v.crc32, v.digest, '
    'v.data_set_offset, i.uid FROM instance i JOIN version v ON v.instance_id = i.id JOIN "range" r '
    "ON r.instance_id = v.instance_id AND r.number = v.number "
    "WHERE i.study_id = %s AND i.series_id = %s AND i.id BETWEEN %s AND %s AND r.object_id = ANY(%s) "
    "ORDER BY i.id, v.number, r.copy"
)
_QUIET: Final = (
    "SELECT a.series_id, a.at, n.name, t.uid, s.uid FROM (SELECT * FROM arriving WHERE series_id > %s "
    "AND at <= (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - %s ORDER BY series_id LIMIT %s) a "
    "LEFT JOIN institution n ON n.id = a.institution_id LEFT JOIN study t ON t.id = a.study_id "
    "LEFT JOIN series s ON s.id = a.series_id ORDER BY a.series_id"
)
_STORED: Final = (
    "SELECT s.id, 0, n.name, t.uid, s.uid FROM (SELECT * FROM series WHERE id > %s ORDER BY id LIMIT %s) s "
    "JOIN institution n ON n.id = s.institution_id JOIN study t ON t.id = s.study_id ORDER BY s.id"
)
# What a commit has just written to is passed over: it is about to change, and nobody waits here whom others wait for.
_FORGET: Final = (
    "DELETE FROM arriving WHERE series_id IN (SELECT a.series_id FROM unnest(%s::bigint[], %s::bigint[]) "
    "AS u (series_id, at) JOIN arriving a ON a.series_id = u.series_id AND a.at = u.at FOR UPDATE OF a SKIP LOCKED)"
)
_NEW_ID: Final = "SELECT nextval('commit_number')"
_RESERVE: Final = "INSERT INTO object (id, store, key, size, live, gone_at) VALUES (%s, %s, %s, 0, 0, %s)"
_LOCK: Final = "SELECT set_config('lock_timeout', %s, true), pg_advisory_xact_lock(%s)"
_MOVE: Final = (
    'UPDATE "range" r SET object_id = %s, "offset" = m."to" FROM json_to_recordset(%s::json) '
    'AS m (instance_id bigint, number bigint, copy bigint, object_id bigint, "from" bigint, length bigint, '
    '"to" bigint) '
    "WHERE r.instance_id = m.instance_id AND r.number = m.number AND r.copy = m.copy AND r.ordinal = 0 "
    'AND r.object_id = m.object_id AND r."offset" = m."from" AND r.length = m.length '
    "RETURNING r.instance_id, r.number, r.copy, m.object_id"
)
_NAME: Final = (
    "UPDATE object SET live = %s, size = %s, gone_at = NULL WHERE id = %s AND live = 0 AND size = 0 AND gone_at = %s"
)
_GIVE_UP: Final = "UPDATE object SET gone_at = %s, size = %s WHERE id = %s AND live = 0"
_FREE: Final = (
    "UPDATE object o SET live = o.live - u.n, gone_at = CASE WHEN o.live = u.n THEN %s::bigint END, "
    "copied = o.live = u.n AND NOT EXISTS (SELECT 1 FROM reclaim c WHERE c.object_id = o.id) "
    f"FROM {sql.relation('id, n')} WHERE o.id = u.id"
)
_VERIFIED: Final = (
    "UPDATE copy c SET verified_at = %s FROM json_to_recordset(%s::json) "
    "AS m (instance_id bigint, number bigint, copy bigint) "
    "WHERE c.instance_id = m.instance_id AND c.number = m.number AND c.copy = m.copy"
)


@dataclass(frozen=True, slots=True)
class Series:
    """A series by its keys."""

    study: int
    id: int


@dataclass(frozen=True, slots=True)
class Held:
    """A version's bytes as they lie in an object."""

    instance: int  # key
    number: int
    copy: int
    object_: int  # key
    offset: int  # bytes
    length: int  # bytes
    commit: int
    crc32: int
    digest: bytes
    data_set_offset: int  # bytes
    uid: str

    @property
    def copy_key(self) -> dict[str, int]:
        """Of its copy's row."""
        return {"instance_id": self.instance, "number": self.number, "copy": self.copy}


@dataclass(frozen=True, slots=True)
class Reserved:
    """A new object's row, before the object is there."""

    id: int
    size: int  # bytes; of the object, once it is there
    until: int  # microseconds since 1970, UTC; from when on it may be reclaimed


@dataclass(frozen=True, slots=True)
class Move:
    """Versions that lie in a new object too, and where."""

    to: Reserved
    held: Sequence[Held]
    offsets: Sequence[int]  # bytes; in that object


def quiet(connection: Connection, after: int, silence: timedelta, limit: int) -> list[Grown]:
    """Series to which nothing has happened for that long, in order of their keys; names are '' where they are gone."""
    asked = (after, silence // timedelta(microseconds=1), limit)
    return [
        Grown(key, at, institution or "", Uid(study or ""), Uid(series_uid or ""))
        for key, at, institution, study, series_uid in connection.run(_QUIET, asked)
    ]


def stored(connection: Connection, after: int, limit: int) -> list[Grown]:
    """Series in order of their keys."""
    return [
        Grown(key, at, institution, Uid(study), Uid(series_uid))
        for key, at, institution, study, series_uid in connection.run(_STORED, (after, limit))
    ]


def forget(connection: Connection, grown: Sequence[Grown]) -> None:
    """Have them looked at no more, unless something has happened since."""
    connection.run(_FORGET, ([one.key for one in grown], [one.at for one in grown]))


def series(connection: Connection, institution: str, study_uid: str, series_uid: str) -> Series | None:
    """A series by its names."""
    row = connection.run(_KEYS, (study_uid, series_uid, institution)).fetchone()
    return None if row is None else Series(*row)


def lying(connection: Connection, of: Series, below: int) -> list[Lying]:
    """Objects of a series, the first ones, that have less than `below` bytes of versions or some that nobody needs."""
    return [Lying(*row) for row in connection.run(_LYING, (of.study, of.id, below, _OBJECTS))]


def held(connection: Connection, of: Series, target: Sequence[Lying]) -> list[Held]:
    """What lies in some objects of a series, in order of instances and versions."""
    extent = (min(one.first for one in target), max(one.last for one in target), [one.id for one in target])
    return [Held(*row) for row in connection.run(_HELD, (of.study, of.id, *extent))]


def reserve(connection: Connection, place: tuple[str, str], size: int, until: int) -> Reserved:
    """Announce an object of that store and key."""
    (number,) = connection.run(_NEW_ID).fetchone() or (0,)
    made = Reserved(number << PLACES, size, until)
    connection.run(_RESERVE, (made.id, *place, until))
    return made


def switch(connection: Connection, lock: int, move: Move, at: tuple[int, int]) -> int:
    """Have rows name the new object, in a transaction; how many do.

    Args:
        connection: in a transaction.
        lock: of the study.
        move: what lies where; a version that was deleted meanwhile, or lies elsewhere, is left as it is.
        at: now, and from when on what it was copied from may go; microseconds since 1970, UTC.

    Raises:
        OvertakenError: the new object was reclaimed meanwhile.
    """
    now, gone_at = at
    connection.run(_LOCK, (_LOCK_WAIT, lock))
    wanted = [
        {**one.copy_key, "object_id": one.object_, "from": one.offset, "length": one.length, "to": offset}
        for one, offset in zip(move.held, move.offsets, strict=True)
    ]
    moved = {
        (instance, number, copy): old
        for instance, number, copy, old in connection.run(_MOVE, (move.to.id, sql.document(wanted)))
    }
    if not moved:
        connection.run(_GIVE_UP, (now, move.to.size, move.to.id))
        return 0
    if connection.run(_NAME, (len(moved), move.to.size, move.to.id, move.to.until)).rowcount != 1:
        raise OvertakenError(TOO_LATE)
    left: dict[int, int] = {}
    for old in moved.values():
        left[old] = left.get(old, 0) + 1
    connection.run(_FREE, (gone_at, sql.document({"id": old, "n": count} for old, count in sorted(left.items()))))
    _see_to_the_rest(connection, move, set(moved), now)
    return len(moved)


def _see_to_the_rest(connection: Connection, move: Move, moved: set[tuple[int, int, int]], now: int) -> None:
    """Those that lie there now were read back; what was copied in vain is in the way."""
    verified = [one.copy_key for one in move.held if (one.instance, one.number, one.copy) in moved]
    connection.run(_VERIFIED, (now, sql.document(verified)))
    unneeded = [
        {"object_id": move.to.id, "offset": offset, "length": one.length, "digest": "", "gone_at": now}
        for one, offset in zip(move.held, move.offsets, strict=True)
        if (one.instance, one.number, one.copy) not in moved
    ]
    if unneeded:
        connection.run(sql.ADD_RECLAIM, (sql.document(unneeded),))
