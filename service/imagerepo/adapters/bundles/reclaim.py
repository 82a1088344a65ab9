"""Remove objects of which nothing is left that any row names, in the background; any number of replicas may.

1. Some that are due are taken: as if they had gone just now, so that nobody else takes them for that long.
2. They are deleted in S3, outside of any transaction.
3. Their rows go, and those of what their bytes were.

What dies in between is due again, and done again: that an object is gone already is no fault.
"""

import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.database import Database

log = logging.getLogger(__name__)

_AT_ONCE: Final = 200  # objects
_TAKE: Final = (
    "UPDATE object SET gone_at = %s WHERE id = ANY(ARRAY(SELECT id FROM object WHERE gone_at <= %s "
    "ORDER BY gone_at LIMIT %s FOR UPDATE SKIP LOCKED)) RETURNING id, store, key"
)
_FORGET_PARTS: Final = "DELETE FROM reclaim WHERE object_id = ANY(%s)"
_FORGET: Final = "DELETE FROM object WHERE id = ANY(%s)"


class Reclaimer:
    """Works through what was deleted."""

    def __init__(self, database: Database, store: S3Store) -> None:
        self._database = database
        self._store = store

    def work(self, delay: timedelta) -> int:
        """Remove some objects that were deleted longer than `delay` ago; how many. Raises UnavailableError."""
        now = datetime.now(UTC)
        with self._database.transaction() as connection:
            taken = (microseconds(now), microseconds(now - delay), _AT_ONCE)
            found = connection.run(_TAKE, taken).fetchall()
            if not found:
                return 0
            connection.run(sql.NEXT_GENERATION)
        by_store: dict[str, list[str]] = {}
        for _, store, key in found:
            by_store.setdefault(store, []).append(key)
        for store, keys in by_store.items():
            self._store.delete(store, keys)
        gone = [one for one, _, _ in found]
        with self._database.transaction() as connection:
            connection.run(_FORGET_PARTS, (gone,))
            connection.run(_FORGET, (gone,))
        log.info("reclaim.done", extra={"objects": len(found)})
        return len(found)
