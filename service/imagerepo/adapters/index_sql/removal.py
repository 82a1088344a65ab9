"""Remove the rows of what a tombstone names, in the transaction of whoever calls.

What is left of a study and its series is described anew, since the instance that described them may be gone. As for
apply.py, an index that is rebuilt from the segments gives the same answers: what a tombstone does depends on what
earlier commits stored and on nothing else.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from imagerepo.adapters.index_sql import statements as sql
from imagerepo.adapters.index_sql.descriptions import forget_text, index_text, series_values, study_values, sums_of
from imagerepo.adapters.moments import microseconds
from imagerepo.model.instance import Attributes, Range


@dataclass(frozen=True, slots=True)
class Deleted:
    """A tombstone: all of this that earlier commits stored is gone."""

    institution: str
    commit: int
    at: datetime
    study_uid: str
    series_uid: str | None  # None: the whole study
    instance_uid: str | None  # None: the whole series


@dataclass(frozen=True, slots=True)
class Source:
    """The current version of an instance, from which its study or series is described."""

    study_uid: str
    series_uid: str
    instance_uid: str
    sop_class_uid: str
    transfer_syntax: str
    data_set_offset: int  # bytes
    where: Range
    is_gone: bool  # a later tombstone names it: it describes nothing for long, and its bytes may be gone


Describe = Callable[[Source], Attributes]
"""Reads what an instance says; of a damaged one its UIDs are all that is known."""

# The instances that a tombstone names: study's key, then series and instance twice.
_SCOPE = (
    "SELECT i.id FROM instance i JOIN series s ON s.id = i.series_id "
    "WHERE i.study_id = ? AND (? IS NULL OR s.uid = ?) AND (? IS NULL OR i.uid = ?)"
)
_DOOMED = f"v.instance_id IN ({_SCOPE}) AND v.commit_number < ?"
_STUDY = "SELECT t.id FROM study t JOIN institution n ON n.id = t.institution_id WHERE n.name = ? AND t.uid = ?"
_COUNT = f"SELECT count(DISTINCT v.instance_id), coalesce(sum(v.size), 0) FROM version v WHERE {_DOOMED}"
# What the last commits of segments stored is looked at when a segment is read again: those have to be named.
_LAST_COMMITS = (
    f"SELECT DISTINCT v.commit_number FROM version v WHERE {_DOOMED} "
    "AND v.commit_number IN (SELECT last_commit FROM segment) ORDER BY v.commit_number"
)
_ADD_TOMBSTONE = (
    "INSERT INTO tombstone (institution_id, study_uid, series_uid, instance_uid, commit_number) "
    "VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET commit_number = max(commit_number, excluded.commit_number)"
)
_COVERING = (
    "SELECT 1 FROM tombstone b JOIN institution n ON n.id = b.institution_id WHERE n.name = ? AND b.study_uid = ? "
    "AND b.series_uid IN ('', ?) AND b.instance_uid IN ('', ?) AND b.commit_number > ? LIMIT 1"
)
_KEEP_NUMBER = (
    "INSERT INTO gone (institution_id, uid, number) {rows} "
    "ON CONFLICT DO UPDATE SET number = max(number, excluded.number)"
)
_KEEP_NUMBERS = _KEEP_NUMBER.format(
    rows="SELECT i.institution_id, i.uid, max(v.number) FROM version v JOIN instance i ON i.id = v.instance_id "
    f"WHERE {_DOOMED} GROUP BY i.id"
)
_KEEP_ONE_NUMBER = _KEEP_NUMBER.format(rows="VALUES (?, ?, ?)")
_RECLAIM = (
    'INSERT INTO reclaim (object_id, "offset", length, digest, gone_at) '
    'SELECT r.object_id, r."offset", r.length, v.digest, ? FROM version v '
    f'JOIN "range" r ON r.instance_id = v.instance_id AND r.number = v.number WHERE {_DOOMED}'
)
_RECLAIM_ONE = (
    'INSERT INTO reclaim (object_id, "offset", length, digest, gone_at) '
    "SELECT id, ?, ?, ?, ? FROM object WHERE store = ? AND key = ?"
)
_DROP_BELOW = (
    'DELETE FROM "{table}" WHERE (instance_id, number) IN '
    f"(SELECT v.instance_id, v.number FROM version v WHERE {_DOOMED})"
)
_DROP_VERSIONS = f"DELETE FROM version AS v WHERE {_DOOMED}"
_EMPTY = f"SELECT id FROM ({_SCOPE}) WHERE NOT EXISTS (SELECT 1 FROM version v WHERE v.instance_id = id)"
_EMPTY_BY_SERIES = f"SELECT series_id, count(*) FROM instance WHERE id IN ({_EMPTY}) GROUP BY series_id"
_DROP_INSTANCES = f"DELETE FROM instance WHERE id IN ({_EMPTY})"
_COUNT_SERIES = "UPDATE series SET instance_count = instance_count - ? WHERE id = ?"
_DROP_SERIES = "DELETE FROM series WHERE study_id = ? AND instance_count = 0"
_COUNT_STUDY = (
    "UPDATE study SET instance_count = instance_count - ?, series_count = series_count - ? WHERE id = ? "
    "RETURNING instance_count"
)
_UNDESCRIBED = "SELECT id FROM series s WHERE study_id = ? AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = s.id)"
_SOURCE = (
    "SELECT i.id, (SELECT min(f.commit_number) FROM version f WHERE f.instance_id = i.id), n.name, v.commit_number, "
    "t.uid, s.uid, i.uid, "
    'i.sop_class_uid, v.transfer_syntax, v.data_set_offset, o.store, o.key, r."offset", r.length FROM instance i '
    "JOIN institution n ON n.id = i.institution_id JOIN study t ON t.id = i.study_id "
    "JOIN series s ON s.id = i.series_id JOIN version v ON v.instance_id = i.id AND v.number = i.current "
    'JOIN "range" r ON r.instance_id = i.id AND r.number = v.number AND r.copy = 0 AND r.ordinal = 0 '
    "JOIN object o ON o.id = r.object_id WHERE i.id = (SELECT min(id) FROM instance WHERE {within})"
)


class Removal:
    """Removes rows through one connection."""

    def __init__(self, connection: sqlite3.Connection, describe: Describe) -> None:
        self._connection = connection
        self._describe = describe

    def extent(self, deleted: Deleted) -> tuple[int, list[int]]:
        """How many instances it removes, and which of their commits are the last ones of their segments."""
        found = self._connection.execute(_STUDY, (deleted.institution, deleted.study_uid)).fetchone()
        if found is None:
            return 0, []
        doomed = _doomed(found[0], deleted)
        (count, _) = self._connection.execute(_COUNT, doomed).fetchone()
        return count, [commit for (commit,) in self._connection.execute(_LAST_COMMITS, doomed)]

    def delete(self, deleted: Deleted) -> None:
        """Remove the rows of what a tombstone names, and note which bytes may be given back."""
        execute = self._connection.execute
        institution = self.announce(deleted)
        found = execute(_STUDY, (deleted.institution, deleted.study_uid)).fetchone()
        if found is None:
            return
        (study,) = found
        doomed = _doomed(study, deleted)
        (count, size) = execute(_COUNT, doomed).fetchone()
        if not count:
            # Its rows were not made, since it was announced: what is left is described as if they had been.
            execute(sql.MARK_STUDY, (*sums_of(self._connection, study), study))
            return
        execute(_KEEP_NUMBERS, doomed)
        execute(_RECLAIM, (microseconds(deleted.at), *doomed))
        for table in ("range", "copy"):
            execute(_DROP_BELOW.format(table=table), doomed)
        execute(_DROP_VERSIONS, doomed)
        self._drop_empty(institution, study, doomed[:-1], size)

    def announce(self, deleted: Deleted) -> int:
        """Note a tombstone, before anything that it names; the institution's key."""
        institution = self._institution(deleted.institution)
        names = (deleted.study_uid, deleted.series_uid or "", deleted.instance_uid or "")
        self._connection.execute(_ADD_TOMBSTONE, (institution, *names, deleted.commit))
        return institution

    def is_covered(self, names: tuple[str, str, str, str], commit: int) -> bool:
        """Whether a later tombstone names what a commit stored: institution, study, series, instance."""
        return self._connection.execute(_COVERING, (*names, commit)).fetchone() is not None

    def bury(self, institution: str, instance: tuple[str, int], where: Range, digest: bytes, at: datetime) -> None:
        """Note what a later tombstone has deleted already: the instance's UID, its version's number, and its bytes."""
        key = self._institution(institution)
        self._connection.execute(_KEEP_ONE_NUMBER, (key, *instance))
        self._connection.execute(sql.ADD_OBJECT, (where.store, where.key))
        found = (where.offset, where.length, digest, microseconds(at), where.store, where.key)
        self._connection.execute(_RECLAIM_ONE, found)

    def _institution(self, name: str) -> int:
        self._connection.execute(sql.ADD_INSTITUTION, (name,))
        (key,) = self._connection.execute(sql.FIND_INSTITUTION, (name,)).fetchone()
        return key

    def _drop_empty(self, institution: int, study: int, scope: tuple[object, ...], size: int) -> None:
        """Remove instances without versions, and what was made for them alone; describe the rest anew."""
        execute = self._connection.execute
        by_series = execute(_EMPTY_BY_SERIES, scope).fetchall()
        execute(_DROP_INSTANCES, scope)
        for series, count in by_series:
            execute(_COUNT_SERIES, (count, series))
        instances = sum(count for _, count in by_series)
        series = execute(_DROP_SERIES, (study,)).rowcount
        (left,) = execute(_COUNT_STUDY, (instances, series, study)).fetchone()
        if not left:
            forget_text(self._connection, study)
            execute("DELETE FROM study WHERE id = ?", (study,))
        else:
            self._describe_anew(study)
        execute(sql.ADD_HOLDING, (institution, 0 if left else -1, -series, -instances, -size))

    def _describe_anew(self, study: int) -> None:
        """Rows have the key of the instance that describes them: the earliest one."""
        execute = self._connection.execute
        for (series,) in execute(_UNDESCRIBED, (study,)).fetchall():
            key, commit, attributes = self._source("study_id = ? AND series_id = ?", (study, series))
            execute(sql.MOVE_SERIES, (key, series))
            execute(sql.MOVE_INSTANCES, (key, study, series))
            execute(sql.CHANGE_SERIES, (*series_values(attributes, commit), key))
        if execute("SELECT 1 FROM instance WHERE id = ?", (study,)).fetchone() is None:
            forget_text(self._connection, study)
            key, commit, attributes = self._source("study_id = ?", (study,))
            for statement in sql.MOVE_STUDY:
                execute(statement, (key, study))
            execute(sql.CHANGE_STUDY, (*study_values(attributes, commit), key))
            index_text(self._connection, key, attributes)
            study = key
        execute(sql.MARK_STUDY, (*sums_of(self._connection, study), study))

    def _source(self, within: str, keys: tuple[int, ...]) -> tuple[int, int, Attributes]:
        key, first, institution, last, *row = self._connection.execute(_SOURCE.format(within=within), keys).fetchone()
        is_gone = self.is_covered((institution, *row[:3]), last)
        return key, first, self._describe(Source(*row[:6], where=Range(*row[6:]), is_gone=is_gone))


def _doomed(study: int, deleted: Deleted) -> tuple[object, ...]:
    """Parameters of _DOOMED; all but the last are those of _SCOPE."""
    series, instance = deleted.series_uid, deleted.instance_uid
    return (study, series, series, instance, instance, deleted.commit)
