"""Remove objects that no row names (ports.upkeep.Sweeper).

1. Keys are listed; those that are old enough, and that no row of `object` has, are looked at more closely.
2. Each gets a row of its own, without any version (`live` is 0), in a transaction. Keys are unique: whoever is about
   to commit an object of that key is waited for, and then it has a row; who comes later is refused by the index, and
   whoever sent him something sends it again. So nobody names what goes, however long he was paused.
3. The objects are deleted. The rows stay as long as somebody may still come, and go like those of what was deleted
   (reclaim.py), which removes what was put meanwhile too.

Rows that are missing since the database was lost or is not the one that it was (dropped and made anew, restored from a
backup, taken over by a standby) are no reason to remove what they would name: objects that are older than the database
as it stands are left alone. That it was set back without a trace in itself, as by a snapshot of its disk, the ledger
in S3 tells: as long as that goes beyond what the database knows of it, nothing is removed, and a new epoch of it is
another database too. A row without versions and without a size was to get both from who had put the object
(compaction_rows.py): in a database that was set back it may be the one place of what it has, so that such rows go
there, and their objects are left alone like any other that no row names.
"""

import logging
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final

from imagerepo.adapters.bundles import ledger_format
from imagerepo.adapters.bundles.ledger_format import Place
from imagerepo.adapters.bundles.rows import PLACES
from imagerepo.adapters.moments import microseconds, moment
from imagerepo.adapters.objects_s3.store import Listed, S3Store
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.settled import in_transaction
from imagerepo.errors import UnavailableError
from imagerepo.ports.upkeep import Swept

log = logging.getLogger(__name__)

_PAGE: Final = 1000  # keys; as many as a listing has
_FENCED_AT_ONCE: Final = 100  # keys
_FENCED_FOR: Final = timedelta(days=7)  # as long as parts of an upload stay that never ends (objects_s3/buckets.py)
_OURS: Final = re.compile(r"[^/]+/[0-9.]+/[0-9.]+/([0-9a-f]{12})[0-9a-f]{20}")
"""Keys as commits give them: institution, study, series, then milliseconds since 1970 and what is random."""

# Of a server, of what it has gone through since, of the database in it, of the table's file, of the epochs of ledgers:
# any of them is another one where rows may be missing.
IDENTITY: Final = (
    "(SELECT concat_ws('/', c.system_identifier, left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), d.oid, "
    "pg_relation_filenode('object'), (SELECT coalesce(sum(epoch - 1), 0) FROM ledger)) "
    "FROM pg_control_system() c, pg_database d WHERE d.datname = current_database())"
)
_SINCE: Final = f"SELECT since FROM incarnation WHERE identity = {IDENTITY}"
_BEGIN: Final = f"UPDATE incarnation SET identity = {IDENTITY}, since = %s WHERE identity <> {IDENTITY}"
_DROP_UNFINISHED: Final = "DELETE FROM object WHERE gone_at IS NOT NULL AND live = 0 AND size = 0"
_TRUST: Final = f"UPDATE incarnation SET identity = {IDENTITY}, since = 0"
_LEDGER: Final = "SELECT epoch, number FROM ledger WHERE institution = %s"
_NAMED: Final = "SELECT key FROM object WHERE store = %s AND key = ANY(%s)"
# In the order of keys: two that sweep at the same time do not deadlock.
_FENCE: Final = (
    "INSERT INTO object (id, store, key, size, live, gone_at) "
    f"SELECT c.number << {PLACES} | u.place - 1, %s, u.key, u.size, 0, %s "
    "FROM (SELECT nextval('commit_number') AS number) c, "
    "unnest(%s::text[], %s::bigint[]) WITH ORDINALITY AS u (key, size, place) "
    f"WHERE EXISTS (SELECT 1 FROM incarnation WHERE identity = {IDENTITY} AND since = %s) ORDER BY u.place "
    "ON CONFLICT (store, key) DO NOTHING RETURNING key"
)


class ObjectSweeper:
    """Sweeps the buckets of a cluster."""

    def __init__(self, database: Database, store: S3Store) -> None:
        self._database = database
        self._store = store

    def sweep(self, institution: str, after: str, grace: timedelta) -> Swept:
        """Look at some objects."""
        since = since_when(self._database)  # also where nothing is to be removed: from now on all that comes is known
        store = self._store.bucket(institution)
        page = list(islice(self._store.list(store, f"{institution}/", after), _PAGE))
        unnamed = self._unnamed(store, [one for one in page if _is_older(one, datetime.now(UTC) - grace)])
        candidates = [one for one in unnamed if _is_of(one, moment(since))]
        if candidates and (beyond := beyond_ledger(self._database, self._store, institution)):
            raise UnavailableError(
                f"{store}/{beyond} is of commits that the database does not know: it was set back, or made anew; "
                "nothing is swept until replicas have gone on with the ledger, or `imagerepo index rebuild` was run"
            )
        spared, removed = len(unnamed) - len(candidates), 0
        for start in range(0, len(candidates), _FENCED_AT_ONCE):
            removed += self._remove(store, candidates[start : start + _FENCED_AT_ONCE], since)
        return Swept(page[-1].key if page else after, len(page) < _PAGE, len(page), removed, spared)

    def _unnamed(self, store: str, some: Sequence[Listed]) -> list[Listed]:
        if not some:
            return []
        with self._database.reading() as connection:
            named = {key for (key,) in connection.run(_NAMED, (store, [one.key for one in some]))}
        return [one for one in some if one.key not in named]

    def _remove(self, store: str, some: Sequence[Listed], since: int) -> int:
        gone_at = microseconds(datetime.now(UTC) + _FENCED_FOR)
        given = (store, gone_at, [one.key for one in some], [one.size for one in some], since)
        fenced = in_transaction(
            self._database, lambda connection: [key for (key,) in connection.run(_FENCE, given).fetchall()]
        )
        for key in fenced:
            log.warning("sweep.unnamed", extra={"store": store, "key": key})
        self._store.delete(store, fenced)
        return len(fenced)


def trust(connection: Connection) -> None:
    """All that is stored was looked at, and what had been committed has its rows: the rest may be swept, however old.

    For who has made the index anew, and has met nothing that could not be read.
    """
    connection.run(_TRUST)


def is_known(connection: Connection) -> bool:
    """Whether the database is the one that it was when it was last looked at."""
    return connection.run(_SINCE).fetchone() is not None


def since_when(database: Database) -> int:
    """Since when all that was committed has its rows in this database; microseconds since 1970, UTC."""
    with database.reading() as connection:
        row = connection.run(_SINCE).fetchone()
    return row[0] if row is not None else in_transaction(database, _begin)


def beyond_ledger(database: Database, store: S3Store, institution: str) -> str:
    """The first key of an institution's ledger that is behind what the database knows of; '': there is none."""
    # The second time it knows what was just being written.
    return _beyond(database, store, institution) and _beyond(database, store, institution)


def _beyond(database: Database, store: S3Store, institution: str) -> str:
    with database.reading() as connection:
        epoch, number = connection.run(_LEDGER, (institution,)).fetchone() or (1, 0)
    known = ledger_format.key_of(institution, Place(epoch, number))
    found = next(store.list(store.bucket(institution), ledger_format.prefix_of(institution), known), None)
    return "" if found is None else found.key


def _begin(connection: Connection) -> int:
    """Begin to know what is stored."""
    if connection.run(_BEGIN, (microseconds(datetime.now(UTC)),)).rowcount:
        connection.run(_DROP_UNFINISHED)
        log.warning("sweep.another_database", extra={"spared": "what was stored before and has no row"})
    (since,) = connection.run(_SINCE).fetchone() or (microseconds(datetime.now(UTC)),)
    return since


def _is_older(one: Listed, than: datetime) -> bool:
    """By the younger of its times; what is not stored by commits is as young as can be."""
    return (named := _named_at(one)) is not None and max(named, one.stored_at) < than


def _is_of(one: Listed, since: datetime) -> bool:
    """Whether it was stored after that, by the older of its times."""
    return (named := _named_at(one)) is not None and min(named, one.stored_at) > since


def _named_at(one: Listed) -> datetime | None:
    """When its name was given; None: not by a commit."""
    found = _OURS.fullmatch(one.key)
    try:
        return None if found is None else moment(int(found[1], 16) * 1000)
    except OverflowError:  # beyond the year 9999
        return None
