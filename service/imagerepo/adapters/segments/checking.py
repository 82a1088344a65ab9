"""Index and segments of a data folder held against each other (ports.checking); nothing else runs on it.

1. Each file that rows name is there, and as long as they say.
2. Each version that the journal names and that was not deleted is in the index, at that place; and no other is.
3. Rows against each other (index_sql/row_check.py).

The index is a projection: whatever is wrong with it goes by making it anew. Counts alone are repaired here.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from imagerepo.adapters.index_sql.engine import INDEX, connect, transaction
from imagerepo.adapters.index_sql.reads import Row
from imagerepo.adapters.index_sql.row_check import (
    ADD_MISSING,
    HOLDINGS,
    INSTITUTIONS,
    Miscounted,
    RowCheck,
    Window,
    of_holdings,
)
from imagerepo.adapters.segments import catalog, lines, projection, replay, tombstones
from imagerepo.adapters.segments.lines import StoreLine
from imagerepo.adapters.segments.spool import FOLDER as FILES
from imagerepo.adapters.segments.tombstones import Graves
from imagerepo.adapters.segments.writer import FOLDER, STORE
from imagerepo.errors import DamagedError
from imagerepo.model.findings import Examined, Fault, Finding, Treatment

_REBUILD: Final = "; `imagerepo index rebuild` makes the index anew"
_BACKUP: Final = "; put the file back from a backup, then run `imagerepo index rebuild`"
_SEEN: Final = (
    "CREATE TEMP TABLE seen (instance_id INTEGER, number INTEGER, PRIMARY KEY (instance_id, number)) WITHOUT ROWID"
)
_OBJECTS: Final = (
    'SELECT o.key, max(r."offset" + r.length) FROM object o JOIN "range" r ON r.object_id = o.id '
    "WHERE o.store = ? GROUP BY o.id ORDER BY o.key"
)
_NAMED: Final = "SELECT 1 FROM object WHERE store = ? AND key = ?"
_VERSION: Final = (
    'SELECT v.instance_id, v.commit_number, v.digest, o.key, r."offset", r.length FROM institution n '
    "JOIN instance i ON i.institution_id = n.id AND i.uid = ? "
    "JOIN version v ON v.instance_id = i.id AND v.number = ? "
    'LEFT JOIN "range" r ON r.instance_id = v.instance_id AND r.number = v.number AND r.copy = 0 AND r.ordinal = 0 '
    "LEFT JOIN object o ON o.id = r.object_id WHERE n.name = ?"
)
_UNKNOWN: Final = (
    "SELECT n.name, i.uid, v.number FROM instance i JOIN institution n ON n.id = i.institution_id "
    "JOIN version v ON v.instance_id = i.id WHERE i.id > ? AND i.id <= ? AND NOT EXISTS "
    "(SELECT 1 FROM seen z WHERE z.instance_id = v.instance_id AND z.number = v.number)"
)
_COUNT_SERIES: Final = (
    "UPDATE series SET instance_count = (SELECT count(*) FROM instance i WHERE i.study_id = series.study_id "
    "AND i.series_id = series.id) WHERE study_id = ?"
)
_COUNT_STUDY: Final = (
    "UPDATE study SET series_count = (SELECT count(*) FROM series s WHERE s.study_id = study.id), "
    "instance_count = (SELECT count(*) FROM instance i WHERE i.study_id = study.id) WHERE id = ?"
)


class SegmentCheck:
    """Examines a data folder, whose lock is held."""

    def __init__(self, data: Path, treatment: Treatment) -> None:
        self.examined = Examined()
        self._data = data
        self._treatment = treatment

    def findings(self) -> Iterator[Finding]:
        """All that does not fit."""
        index = self._data / INDEX
        if not index.exists():
            raise DamagedError(
                f"{index} is missing; a start of the server, or `imagerepo index rebuild`, makes it anew"
            )
        try:
            with closing(connect(index)) as connection:
                connection.execute("PRAGMA temp_store=FILE")  # what was seen may be more than memory has
                connection.execute(_SEEN)
                looking = _Looking(self._data, connection, self._treatment, self.examined)
                for finding in looking.all():
                    self.examined.add(finding)
                    yield finding
        except sqlite3.Error as error:
            raise DamagedError(f"the index cannot be read: {error}{_REBUILD}") from error


class _Looking:
    """One look."""

    def __init__(self, data: Path, connection: sqlite3.Connection, treatment: Treatment, examined: Examined) -> None:
        self._data = data
        self._connection = connection
        self._treatment = treatment
        self._examined = examined
        self._rows = RowCheck(self._ask, examined)
        self._applied = projection.applied(connection)

    def all(self) -> Iterator[Finding]:
        yield from self._segments()
        yield from self._files()
        yield from self._journal()
        for window in self._rows.windows():
            yield from self._rows.versions(window)
            yield from self._unknown(window)
        for found in self._rows.counts():
            if isinstance(found, Miscounted):
                study = found.study
                yield self._mended(found.finding, (_COUNT_SERIES, (study,)), (_COUNT_STUDY, (study,)))
            else:
                yield found
        for key, name in self._ask(INSTITUTIONS, ()):
            (row,) = self._ask(HOLDINGS, (key,) * 5)
            if (finding := of_holdings(name, row)) is not None:
                yield self._mended(finding, (ADD_MISSING, (key,) * 6))

    def _segments(self) -> Iterator[Finding]:
        """Segments of which the index has seen more than there is."""
        for name, applied in self._applied.items():
            path = self._data / FOLDER / name
            size = path.stat().st_size if path.exists() else None
            if size is None:
                yield Finding(Fault.OBJECT_MISSING, "", name, f"segment {name} is missing{_BACKUP}")
            elif size < applied:
                said = f"segment {name} has {size} bytes, the index has read {applied}{_BACKUP}"
                yield Finding(Fault.OBJECT_RESIZED, "", name, said)

    def _files(self) -> Iterator[Finding]:
        """Files that rows name, and those that none does."""
        for key, end in self._connection.execute(_OBJECTS, (STORE,)):
            self._examined.objects += 1
            path = self._data / key
            if not path.exists():
                yield Finding(Fault.OBJECT_MISSING, "", key, f"{key} is missing, which rows name{_BACKUP}")
            elif (size := path.stat().st_size) < end:
                said = f"rows name bytes up to {end} of {key}, which has {size}{_BACKUP}"
                yield Finding(Fault.RANGE_OUTSIDE, "", key, said)
        for folder, pattern in ((FOLDER, "*.seg"), (FILES, "*/*.dcm")):
            for path in (self._data / folder).glob(pattern):
                self._meet(path, is_named=folder == FOLDER)

    def _meet(self, path: Path, *, is_named: bool) -> None:
        size = path.stat().st_size
        self._examined.stored += 1
        self._examined.bytes += size
        if not is_named and not self._ask(_NAMED, (STORE, str(path.relative_to(self._data)))):
            self._examined.unnamed += 1
            self._examined.unnamed_bytes += size

    def _journal(self) -> Iterator[Finding]:
        """Versions that the journal names; commits that the index has yet to read are its next start's."""
        readable = [one for one in map(catalog.examine, catalog.paths(self._data)) if one.is_readable]
        graves = Graves(tombstones.read(readable, {}))
        for commit in replay.counted(self._data):
            if commit.position > self._applied.get(commit.segment, 0):
                continue
            for line in commit.journal:
                for stored in lines.stores(lines.parse_line(line, commit.place), commit.number):
                    if not graves.hold(stored) and (wrong := self._unlike(stored)) is not None:
                        said = f"{commit.place}: {wrong}{_REBUILD}"
                        yield Finding(Fault.VERSION_UNINDEXED, stored.institution, stored.instance_uid, said)

    def _unlike(self, stored: StoreLine) -> str | None:
        """What the index has not, or has otherwise, of a version."""
        named = f"version {stored.version} of instance {stored.instance_uid}"
        rows = self._ask(_VERSION, (stored.instance_uid, stored.version, stored.institution))
        if not rows:
            return f"{named} is not in the index"
        instance, commit, digest, key, offset, length = rows[0]
        self._connection.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (instance, stored.version))
        where = stored.ranges[0]
        if commit > stored.commit:
            return None  # the number was given again: the flush of this commit had failed
        if (digest, key, offset, length) != (stored.digest, where.key, where.offset, where.length):
            return f"{named} is another one in the index, or lies elsewhere"
        return None

    def _unknown(self, window: Window) -> Iterator[Finding]:
        for institution, uid, number in self._ask(_UNKNOWN, window):
            said = f"version {number} of instance {uid} is in the index, but no journal names it{_REBUILD}"
            yield Finding(Fault.VERSION_UNKNOWN, institution, uid, said)

    def _mended(self, finding: Finding, *statements: tuple[str, Sequence[object]]) -> Finding:
        if self._treatment is Treatment.REPORT:
            return finding
        with transaction(self._connection):
            for statement, values in statements:
                self._connection.execute(statement, values)
        return replace(finding, repaired=True)

    def _ask(self, statement: str, values: Sequence[object]) -> list[Row]:
        return self._connection.execute(statement, values).fetchall()
