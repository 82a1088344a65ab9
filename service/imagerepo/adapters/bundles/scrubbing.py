"""Copies of versions, with what their bytes have to be (ports.upkeep.Copies)."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.settled import in_transaction
from imagerepo.model.instance import Range
from imagerepo.ports.upkeep import Kept, Position

# Whatever row is missing, the copy is there: a pass goes on behind it, and says so.
_COLUMNS: Final = (
    "c.instance_id, c.number, c.copy, coalesce(n.name, ''), coalesce(i.uid, 'key ' || c.instance_id), "
    "coalesce(v.data_set_offset, 0), coalesce(v.digest, ''), coalesce(v.crc32, 0), "
    'r.ordinal, o.store, o.key, r."offset", r.length'
)
_JOINS: Final = (
    "LEFT JOIN version v ON v.instance_id = c.instance_id AND v.number = c.number "
    "LEFT JOIN instance i ON i.id = c.instance_id LEFT JOIN institution n ON n.id = i.institution_id "
    'LEFT JOIN "range" r ON r.instance_id = c.instance_id AND r.number = c.number AND r.copy = c.copy '
    "LEFT JOIN object o ON o.id = r.object_id"
)
_PAGE: Final = (
    f"SELECT {_COLUMNS} FROM (SELECT instance_id, number, copy FROM copy WHERE (instance_id, number, copy) > "
    f"(%s, %s, %s) ORDER BY instance_id, number, copy LIMIT %s) c {_JOINS}"
)
_ONE: Final = f"SELECT {_COLUMNS} FROM copy c {_JOINS} WHERE c.instance_id = %s AND c.number = %s AND c.copy = %s"
# In the order of the key, so that two who note the same copies do not deadlock.
_VERIFIED: Final = (
    "UPDATE copy c SET verified_at = %s FROM ("
    "SELECT k.instance_id, k.number, k.copy FROM "
    "(SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS u (instance_id, number, copy) "
    "ORDER BY instance_id, number, copy) u "
    "JOIN copy k ON k.instance_id = u.instance_id AND k.number = u.number AND k.copy = u.copy FOR UPDATE OF k) l "
    "WHERE c.instance_id = l.instance_id AND c.number = l.number AND c.copy = l.copy"
)


class StoredCopies:
    """Copies as the database has them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, after: Position, limit: int) -> Sequence[Kept]:
        """Copies behind a position, in order."""
        return self._read(_PAGE, (*after, limit))

    def find(self, position: Position) -> Kept | None:
        """The copy at a position."""
        return next(iter(self._read(_ONE, position)), None)

    def verified(self, positions: Sequence[Position], at: datetime) -> None:
        """Note when their bytes were compared."""
        if positions:
            given = (microseconds(at), *map(list, zip(*positions, strict=True)))
            in_transaction(self._database, lambda connection: connection.run(_VERIFIED, given).rowcount)

    def _read(self, statement: str, given: Sequence[object]) -> list[Kept]:
        with self._database.reading() as connection:
            rows = connection.run(statement, given).fetchall()
        # A few hundred: sorted here, no plan has to sort them.
        by_copy = groupby(sorted(rows, key=lambda row: (row[:3], row[8])), key=lambda row: row[:3])
        return [_kept(list(of_copy)) for _, of_copy in by_copy]


def _kept(rows: Sequence[tuple[Any, ...]]) -> Kept:
    """Rows of one copy, a range each."""
    instance, number, copy, institution, uid, offset, digest, crc32, *_ = rows[0]
    is_whole = institution and digest and all(store is not None for *_, store, _, _, _ in rows)
    ranges = tuple(Range(store, key, start, length) for *_, store, key, start, length in rows) if is_whole else ()
    return Kept((instance, number, copy), institution, uid, number, offset, bytes(digest), crc32, ranges)
