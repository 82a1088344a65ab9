"""Objects of the store held against the rows that name them, both ways.

Listing and rows come in order of key, a page at a time, while replicas serve: whatever does not fit is looked at once
more by itself before it is said.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from imagerepo.adapters.bundles.ledger_format import is_ledger
from imagerepo.adapters.objects_s3.store import Listed, S3Store
from imagerepo.adapters.postgres.database import Database
from imagerepo.model.findings import Examined, Fault, Finding

_PARTS: Final = 4  # of a key: institution, study, series, name
_ROWS: Final = 500  # of objects, looked at in one statement
_VERSIONS: Final = 20_000  # in them, by what their rows say; an object has thousands at the most
_ROW: Final = 'id, key, size, live, gone_at IS NOT NULL AS "is going"'
_ROWS_OF: Final = f"SELECT {_ROW} FROM object WHERE store = %s AND key > %s ORDER BY key LIMIT %s"
_ROW_OF: Final = f"SELECT {_ROW} FROM object WHERE store = %s AND key = %s"
# From the lowest to the next higher one, since an index leads there: there are few of them.
_STORES: Final = (
    "WITH RECURSIVE s AS ((SELECT store FROM object ORDER BY store, key LIMIT 1) "
    "UNION ALL SELECT (SELECT store FROM object o WHERE o.store > s.store ORDER BY store, key LIMIT 1) "
    "FROM s WHERE s.store IS NOT NULL) SELECT store FROM s WHERE store IS NOT NULL"
)
# All ranges of the series whose objects these are: an object has instances of one series, and its key says of which.
COUNTS: Final = """
WITH o AS MATERIALIZED (SELECT o.* FROM unnest(%s::bigint[]) AS k JOIN object o ON o.id = k),
d AS MATERIALIZED (SELECT DISTINCT split_part(key, '/', 1) AS institution, split_part(key, '/', 2) AS study,
 split_part(key, '/', 3) AS series FROM o),
r AS MATERIALIZED (
 SELECT r.object_id, count(*) AS count, min(r."offset") AS first, max(r."offset" + r.length) AS last
 FROM d JOIN institution n ON n.name = d.institution JOIN study t ON t.institution_id = n.id AND t.uid = d.study
 JOIN series s ON s.study_id = t.id AND s.uid = d.series
 JOIN instance i ON i.study_id = t.id AND i.series_id = s.id JOIN "range" r ON r.instance_id = i.id
 WHERE r.object_id = ANY(%s::bigint[]) GROUP BY r.object_id)
SELECT o.id, o.key, o.size, o.live, o.gone_at IS NOT NULL, coalesce(r.count, 0), coalesce(r.first, 0),
 coalesce(r.last, 0) FROM o LEFT JOIN r ON r.object_id = o.id
"""
"""Of some objects, by their keys twice: what their rows say, then how many versions lie in each, and between where."""
_ELSEWHERE: Final = (
    "SELECT n.name, i.uid, o.key FROM instance i JOIN institution n ON n.id = i.institution_id "
    "JOIN study t ON t.id = i.study_id JOIN series s ON s.id = i.series_id "
    'JOIN "range" r ON r.instance_id = i.id JOIN object o ON o.id = r.object_id '
    "WHERE i.id > %s AND i.id <= %s AND NOT starts_with(o.key, n.name || '/' || t.uid || '/' || s.uid || '/')"
)


@dataclass(frozen=True, slots=True)
class _Named:
    """A row of table object."""

    id: int
    key: str
    size: int  # bytes; 0: not known
    live: int  # versions whose bytes it has
    is_going: bool  # it may be gone already, or not be there yet


@dataclass(frozen=True, slots=True)
class MiscountedObject:
    """An object that has not as many versions as its row says."""

    finding: Finding
    object_: int  # key of its row


class ObjectCheck:
    """One look at all objects."""

    def __init__(self, database: Database, store: S3Store, examined: Examined, grace: timedelta) -> None:
        """What is younger than `grace` may be named in a moment."""
        self._database = database
        self._store = store
        self._examined = examined
        self._young = datetime.now(UTC) - grace

    def findings(self, institution: str) -> Iterator[Finding | MiscountedObject]:
        """What is wrong with the objects of an institution. Raises UnavailableError."""
        yield from self._of(self._store.bucket(institution), institution)

    def astray(self, institutions: set[str]) -> Iterator[Finding]:
        """Rows of objects that lie in no bucket of these institutions."""
        with self._database.reading() as connection:
            stores = [store for (store,) in connection.run(_STORES)]
        for store in sorted(set(stores) - {self._store.bucket(one) for one in institutions}):
            said = f"rows name objects in bucket {store}, which is of no institution; see cluster.store.bucket_prefix"
            yield Finding(Fault.OBJECT_MISSING, "", store, said)

    def _of(self, bucket: str, institution: str) -> Iterator[Finding | MiscountedObject]:
        if not self._store.is_there(bucket):
            if next(self._rows(bucket), None) is not None:
                said = f"bucket {bucket} is missing, with all objects of institution {institution}"
                yield Finding(Fault.OBJECT_MISSING, institution, bucket, said)
            return
        page: list[_Named] = []
        for listed, named in _side_by_side(self._store.list(bucket, "", ""), self._rows(bucket)):
            if named is None:
                assert listed is not None
                yield from self._unnamed(bucket, institution, listed)
                continue
            self._examined.objects += 1
            if listed is None or (named.size and listed.size != named.size):
                yield from self._unlike(bucket, institution, named)
            if listed is not None:
                self._meet(listed)
            page.append(named)
            if _is_full(page):
                yield from self._counted(institution, page)
                page = []
        yield from self._counted(institution, page)

    def elsewhere(self, first: int, last: int) -> Iterator[Finding]:
        """Versions of instances with keys behind `first` up to `last` that lie in objects of others."""
        with self._database.reading() as connection:
            rows = connection.run(_ELSEWHERE, (first, last)).fetchall()
        for institution, instance, key in rows:
            said = f"instance {instance} lies in object {key}, which is of another series"
            yield Finding(Fault.RANGE_ELSEWHERE, institution, instance, said)

    def _rows(self, bucket: str) -> Iterator[_Named]:
        after = ""
        while True:
            with self._database.reading() as connection:
                rows = [_Named(*row) for row in connection.run(_ROWS_OF, (bucket, after, _ROWS))]
            yield from rows
            if len(rows) < _ROWS:
                return
            after = rows[-1].key

    def _meet(self, listed: Listed) -> None:
        self._examined.stored += 1
        self._examined.bytes += listed.size

    def _named(self, bucket: str, key: str) -> _Named | None:
        with self._database.reading() as connection:
            row = connection.run(_ROW_OF, (bucket, key)).fetchone()
        return None if row is None else _Named(*row)

    def _unnamed(self, bucket: str, institution: str, listed: Listed) -> Iterator[Finding]:
        """What no row seemed to name."""
        if is_ledger(listed.key):
            return
        self._meet(listed)
        if not listed.key.startswith(f"{institution}/") or listed.key.count("/") != _PARTS - 1:
            said = f"object {bucket}/{listed.key} was not stored here: nothing reads or removes it"
            yield Finding(Fault.OBJECT_FOREIGN, institution, listed.key, said)
        elif listed.stored_at < self._young and self._named(bucket, listed.key) is None:
            self._examined.unnamed += 1
            self._examined.unnamed_bytes += listed.size

    def _unlike(self, bucket: str, institution: str, seen: _Named) -> Iterator[Finding]:
        """An object that seemed not to be there, or of another size."""
        size = self._store.size(bucket, seen.key)
        named = self._named(bucket, seen.key)  # the row last: it says whether the object was still to be there
        if named is None or size == named.size or (size is None and (named.is_going or not named.live)):
            return
        if size is None:
            said = f"object {bucket}/{seen.key} is missing, with the bytes of {named.live} versions"
            yield Finding(Fault.OBJECT_MISSING, institution, seen.key, said)
        elif named.size:
            said = f"object {bucket}/{seen.key} has {size} bytes, its row says {named.size}"
            yield Finding(Fault.OBJECT_RESIZED, institution, seen.key, said)

    def _counted(self, institution: str, page: Sequence[_Named]) -> Iterator[Finding | MiscountedObject]:
        """Versions that a page of objects has, against what their rows say, as one snapshot has both."""
        with self._database.reading() as connection:
            keys = [one.id for one in page]
            rows = connection.run(COUNTS, (keys, keys)).fetchall()
        for key, name, size, live, is_going, count, first, last in rows:
            if count != live or is_going is bool(count):
                goes = "goes" if is_going else "stays"
                said = f"object {name} has {count} versions, its row says {live}, and that it {goes}"
                yield MiscountedObject(Finding(Fault.OBJECT_COUNT, institution, name, said), key)
            if first < 0 or (size and last > size):
                said = f"a version has bytes {first} to {last} of object {name}, which has {size}"
                yield Finding(Fault.RANGE_OUTSIDE, institution, name, said)


def _is_full(page: Sequence[_Named]) -> bool:
    """Whether one statement has enough to count with these."""
    return len(page) >= _ROWS or sum(one.live for one in page) >= _VERSIONS


def _side_by_side(listed: Iterator[Listed], named: Iterator[_Named]) -> Iterator[tuple[Listed | None, _Named | None]]:
    """Both in order of key, those of the same key together."""
    one, other = next(listed, None), next(named, None)
    while one is not None or other is not None:
        if other is None or (one is not None and _place(one.key) < _place(other.key)):
            yield one, None
            one = next(listed, None)
        elif one is None or _place(other.key) < _place(one.key):
            yield None, other
            other = next(named, None)
        else:
            yield one, other
            one, other = next(listed, None), next(named, None)


def _place(key: str) -> bytes:
    """Keys are in order of their bytes, here and there."""
    return key.encode()
