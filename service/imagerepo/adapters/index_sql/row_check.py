"""Rows of the index held against each other, whichever engine has them.

A window of keys at a time, each statement a snapshot of its own: commits write all of their rows in one transaction,
so that what they do meanwhile is no fault. Statements are in SQLite's words (dialect.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from imagerepo.adapters.index_sql.reads import Ask, Row
from imagerepo.model.findings import Examined, Fault, Finding

_INSTANCES: Final = 2000  # looked at in one statement
_STUDIES: Final = 500
_END: Final = (1 << 63) - 1  # behind every key

_WINDOW: Final = (
    "SELECT count(*), coalesce(max(id), 0) FROM (SELECT id FROM {table} WHERE id > ? ORDER BY id LIMIT ?) AS w"
)
_OF_VERSIONS: Final = """
SELECT * FROM (
SELECT n.name, t.uid AS study, s.uid AS series, i.uid AS instance, v.number, v.size, c.copy,
 CASE WHEN i.current = (SELECT max(w.number) FROM version w WHERE w.instance_id = i.id) THEN 1 ELSE 0 END AS last,
 (SELECT count(*) FROM "range" r LEFT JOIN object o ON o.id = r.object_id WHERE r.instance_id = v.instance_id
  AND r.number = v.number AND r.copy = c.copy AND o.id IS NULL) AS lost,
 (SELECT coalesce(sum(r.length), 0) FROM "range" r WHERE r.instance_id = v.instance_id
  AND r.number = v.number AND r.copy = c.copy) AS length
FROM instance i LEFT JOIN institution n ON n.id = i.institution_id
LEFT JOIN study t ON t.id = i.study_id AND t.institution_id = i.institution_id
LEFT JOIN series s ON s.id = i.series_id AND s.study_id = i.study_id
LEFT JOIN version v ON v.instance_id = i.id
LEFT JOIN copy c ON c.instance_id = v.instance_id AND c.number = v.number
WHERE i.id > ? AND i.id <= ?) AS f
WHERE f.name IS NULL OR f.study IS NULL OR f.series IS NULL OR f.copy IS NULL OR f.last = 0 OR f.lost > 0
 OR f.length <> f.size
"""
_ASTRAY: Final = """
SELECT 'version', v.instance_id, v.number FROM version v WHERE v.instance_id > ? AND v.instance_id <= ?
 AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.id = v.instance_id)
UNION ALL SELECT 'copy', c.instance_id, c.number FROM copy c WHERE c.instance_id > ? AND c.instance_id <= ?
 AND NOT EXISTS (SELECT 1 FROM version v WHERE v.instance_id = c.instance_id AND v.number = c.number)
UNION ALL SELECT 'range', r.instance_id, r.number FROM "range" r WHERE r.instance_id > ? AND r.instance_id <= ?
 AND NOT EXISTS (SELECT 1 FROM copy c WHERE c.instance_id = r.instance_id AND c.number = r.number
  AND c.copy = r.copy)
"""
_OF_STUDIES: Final = """
SELECT * FROM (
SELECT t.id, n.name, t.uid, t.series_count, t.instance_count,
 (SELECT count(*) FROM series s WHERE s.study_id = t.id) AS series,
 (SELECT count(*) FROM instance i WHERE i.study_id = t.id) AS instances
FROM study t LEFT JOIN institution n ON n.id = t.institution_id WHERE t.id > ? AND t.id <= ?) AS f
WHERE f.name IS NULL OR f.series_count <> f.series OR f.instance_count <> f.instances OR f.instances = 0
"""
_OF_SERIES: Final = """
SELECT * FROM (
SELECT s.study_id, n.name, t.uid AS study, s.uid, s.instance_count,
 (SELECT count(*) FROM instance i WHERE i.study_id = s.study_id AND i.series_id = s.id) AS instances
FROM series s LEFT JOIN study t ON t.id = s.study_id AND t.institution_id = s.institution_id
LEFT JOIN institution n ON n.id = s.institution_id WHERE s.study_id > ? AND s.study_id <= ?) AS f
WHERE f.name IS NULL OR f.study IS NULL OR f.instance_count <> f.instances OR f.instances = 0
"""
_COUNT_SERIES: Final = "SELECT count(*) FROM series WHERE study_id > ? AND study_id <= ?"
INSTITUTIONS: Final = "SELECT id, name FROM institution ORDER BY id"
_HELD: Final = (
    "SELECT coalesce(sum(study_count), 0) AS studies, coalesce(sum(series_count), 0) AS series, "
    "coalesce(sum(instance_count), 0) AS instances, coalesce(sum(hot_bytes + cold_bytes), 0) AS bytes "
    "FROM holding WHERE institution_id = ?"
)
_COUNTED: Final = (
    "SELECT (SELECT count(*) FROM study WHERE institution_id = ?) AS studies, "
    "(SELECT count(*) FROM series WHERE institution_id = ?) AS series, "
    "(SELECT count(*) FROM instance WHERE institution_id = ?) AS instances, "
    "(SELECT coalesce(sum(v.size), 0) FROM instance i JOIN version v ON v.instance_id = i.id "
    "WHERE i.institution_id = ?) AS bytes"
)
_BOTH: Final = f"FROM ({_HELD}) AS h, ({_COUNTED}) AS c"
HOLDINGS: Final = (
    "SELECT h.studies, h.series, h.instances, h.bytes, c.studies, c.series, c.instances, c.bytes " + _BOTH
)
"""An institution's sums, then what they should be: studies, series, instances, bytes. Its key five times."""
MISSING: Final = (
    "SELECT c.studies - h.studies AS studies, c.series - h.series AS series, "
    f"c.instances - h.instances AS instances, c.bytes - h.bytes AS bytes {_BOTH}"
)
"""What its sums lack. Its key five times."""
ADD_MISSING: Final = (
    "INSERT INTO holding (institution_id, study_count, series_count, instance_count, hot_bytes) "
    f"SELECT ?, d.studies, d.series, d.instances, d.bytes FROM ({MISSING}) AS d WHERE true "
    "ON CONFLICT (institution_id) DO UPDATE SET "
    "study_count = study_count + excluded.study_count, series_count = series_count + excluded.series_count, "
    "instance_count = instance_count + excluded.instance_count, hot_bytes = hot_bytes + excluded.hot_bytes"
)
"""Adds that to them, in SQLite. Its key six times."""
_HELD_NAMES: Final = ("studies", "series", "instances", "bytes")


Window = tuple[int, int]
"""Keys behind the first up to the second."""


@dataclass(frozen=True, slots=True)
class Miscounted:
    """A study whose counts, or those of its series, are wrong."""

    finding: Finding
    study: int  # key


class RowCheck:
    """One look at all rows."""

    def __init__(self, ask: Ask, examined: Examined) -> None:
        """`ask` takes statements in SQLite's words."""
        self._ask = ask
        self._examined = examined

    def windows(self) -> Iterator[Window]:
        """All instances."""
        for count, window in self._windows("instance", _INSTANCES):
            self._examined.instances += count
            yield window

    def versions(self, window: Window) -> Iterator[Finding]:
        """Instances, their versions and where these lie."""
        for row in self._ask(_OF_VERSIONS, window):
            yield from _Version(*row).findings()
        for table, instance, number in self._ask(_ASTRAY, window * 3):
            said = f"a row of table {table} is of version {number} of instance {instance}, which has no row"
            yield Finding(Fault.ROW_ASTRAY, "", f"{table} {instance}", said)

    def counts(self) -> Iterator[Finding | Miscounted]:
        """Studies and series."""
        for count, window in self._windows("study", _STUDIES):
            for row in self._ask(_OF_STUDIES, window):
                yield from _of_study(row)
            for row in self._ask(_OF_SERIES, window):
                yield from _of_series(row)
            self._examined.studies += count
            ((series,),) = self._ask(_COUNT_SERIES, window)
            self._examined.series += series

    def _windows(self, table: str, size: int) -> Iterator[tuple[int, Window]]:
        """Rows in a window; the last one has no end."""
        after = 0
        while True:
            ((count, last),) = self._ask(_WINDOW.format(table=table), (after, size))
            if count < size:
                yield count, (after, _END)
                return
            yield count, (after, last)
            after = last


def of_holdings(institution: str, row: Row) -> Finding | None:
    """What is wrong with an institution's sums, a row of HOLDINGS; None: nothing."""
    held, counted = (tuple(map(int, part)) for part in (row[:4], row[4:]))
    if held == counted:
        return None
    wrong = [
        f"{there} {name}, not {said}"
        for name, said, there in zip(_HELD_NAMES, held, counted, strict=True)
        if said != there
    ]
    return Finding(Fault.HOLDINGS, institution, institution, f"institution {institution} has {', '.join(wrong)}")


@dataclass(frozen=True, slots=True)
class _Version:
    """A row of _OF_VERSIONS: an instance of which something is missing, and one of its copies."""

    institution: str | None
    study_uid: str | None
    series_uid: str | None
    instance_uid: str
    number: int | None
    size: int | None  # bytes
    copy: int | None
    is_current: int
    lost: int  # ranges whose object has no row
    length: int  # bytes of its ranges

    def findings(self) -> Iterator[Finding]:
        above = {"institution": self.institution, "study": self.study_uid, "series": self.series_uid}
        for what, name in above.items():
            if name is None:
                yield self._finding(Fault.ROW_ASTRAY, f"instance {self.instance_uid}: its {what} has no row")
        if self.number is None:
            yield self._finding(Fault.VERSION_INCOMPLETE, f"instance {self.instance_uid} has no version")
        elif self.copy is None:
            yield self._finding(Fault.VERSION_INCOMPLETE, f"{self._name} has no copy")
        elif self.lost:
            yield self._finding(Fault.VERSION_INCOMPLETE, f"{self._name} lies in an object that has no row")
        elif self.length != self.size:
            said = f"{self._name} has {self.size} bytes, but its ranges have {self.length}"
            yield self._finding(Fault.VERSION_INCOMPLETE, said)
        if self.number is not None and not self.is_current:
            said = f"instance {self.instance_uid}: its last version is not the current one"
            yield self._finding(Fault.INSTANCE_CURRENT, said)

    @property
    def _name(self) -> str:
        return f"version {self.number} of instance {self.instance_uid}"

    def _finding(self, fault: Fault, said: str) -> Finding:
        return Finding(fault, self.institution or "", self.instance_uid, said)


def _of_study(row: Row) -> Iterator[Finding | Miscounted]:
    key, name, uid, series_said, instances_said, series, instances = row
    if name is None:
        yield Finding(Fault.ROW_ASTRAY, "", uid, f"study {uid}: its institution has no row")
    elif not instances:
        yield Finding(Fault.ROW_ASTRAY, name, uid, f"study {uid} has no instances")
    else:
        there = f"study {uid} has {series} series and {instances} instances"
        said = f"{there}, its row says {series_said} and {instances_said}"
        yield Miscounted(Finding(Fault.COUNT, name, uid, said), key)


def _of_series(row: Row) -> Iterator[Finding | Miscounted]:
    study, name, study_uid, uid, said, instances = row
    if name is None or study_uid is None:
        what = "institution" if name is None else "study"
        yield Finding(Fault.ROW_ASTRAY, name or "", uid, f"series {uid}: its {what} has no row")
    elif not instances:
        yield Finding(Fault.ROW_ASTRAY, name, uid, f"series {uid} has no instances")
    else:
        counted = Finding(Fault.COUNT, name, uid, f"series {uid} has {instances} instances, its row says {said}")
        yield Miscounted(counted, study)
