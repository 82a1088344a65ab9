"""Remove objects of which nothing is left that any row names, in the background; any number of replicas may.

1. Some that are due are taken: as if they had gone just now, so that nobody else takes them for that long.
2. They are deleted in S3, outside of any transaction.
3. Their rows go, and those of what their bytes were.

What dies in between is due again, and done again: that an object is gone already is no fault.

An object whose row has no size is one that compaction did not finish, unless the database was set back: then it may be
the only one that has its versions by now. It goes where the sweep would take it too (sweeping.py), and nowhere else.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles import sweeping
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.database import Database

log = logging.getLogger(__name__)

_AT_ONCE: Final = 200  # objects
_TAKE: Final = (
    "UPDATE object SET gone_at = %s WHERE id = ANY(ARRAY(SELECT id FROM object WHERE gone_at <= %s AND live = 0 "
    "AND (size > 0 OR %s) "
    "ORDER BY gone_at LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING id, store, key, size, copied"
)
_FORGET_PARTS: Final = "DELETE FROM reclaim WHERE object_id = ANY(%s)"
_FORGET: Final = "DELETE FROM object WHERE id = ANY(%s)"

_Taken: TypeAlias = tuple[int, str, str, int, bool]  # key of its row, store, key, bytes, whether it was copied


class Reclaimer:
    """Works through what was deleted."""

    def __init__(self, database: Database, store: S3Store) -> None:
        self._database = database
        self._store = store

    def work(self, delay: timedelta) -> int:
        """Remove some objects that were deleted longer than `delay` ago; how many. Raises UnavailableError."""
        now = datetime.now(UTC)
        with self._database.transaction() as connection:
            taken = (microseconds(now), microseconds(now - delay), sweeping.is_known(connection), _AT_ONCE)
            found: list[_Taken] = connection.run(_TAKE, taken).fetchall()
            if not found:
                return 0
            # Versions that lie elsewhere are found there (flows/whereabouts.py); each reader of them need not ask.
            if not all(copied or not size for *_, size, copied in found):
                connection.run(sql.NEXT_GENERATION)
        found = self._sure(found)
        by_store: dict[str, list[str]] = {}
        for _, store, key, *_ in found:
            by_store.setdefault(store, []).append(key)
        for store, keys in by_store.items():
            self._store.delete(store, keys)
        gone = [one for one, *_ in found]
        with self._database.transaction() as connection:
            connection.run(_FORGET_PARTS, (gone,))
            connection.run(_FORGET, (gone,))
        log.info("reclaim.done", extra={"objects": len(found)})
        return len(found)

    def _sure(self, found: list[_Taken]) -> list[_Taken]:
        """Without what may have got versions that the database does not know of: it is due again later."""
        unfinished = {_institution(key) for _, _, key, size, _ in found if not size}
        beyond = {one for one in unfinished if sweeping.beyond_ledger(self._database, self._store, one)}
        return [one for one in found if one[3] or _institution(one[2]) not in beyond]


def _institution(key: str) -> str:
    return key.partition("/")[0]
