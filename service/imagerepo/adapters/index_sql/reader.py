"""Reads of the index (ports.index.Index) from SQLite."""

import logging
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from imagerepo.adapters.index_sql.engine import INDEX, Budget, PerThread, connect, is_damage
from imagerepo.adapters.index_sql.rows import VERSION_COLUMNS, found_of, version_of
from imagerepo.adapters.index_sql.search import Statement, way
from imagerepo.errors import NotFoundError, TooLargeError, UnavailableError
from imagerepo.model.instance import Version
from imagerepo.model.query import Found, Query
from imagerepo.model.scope import Scope
from imagerepo.model.tier import Tier
from imagerepo.ports.index import Holdings

log = logging.getLogger(__name__)

# What a search may cost, in steps of SQLite's machine, of which a core takes some fourteen million a second. Rows that
# are answered, or passed over because the caller says so, are what it asked for; the rest is looking: at five steps an
# entity, a million of them.
_STEPS = 5_000_000
_STEPS_A_ROW = 60
_ROWS_FIRST = 100  # rows: soon there
_ROWS_A_PAGE = 500  # rows
_OFFSET = 100_000  # rows passed over that are granted steps of their own
_TOO_BROAD = (
    "the search is too broad: too much would have to be looked through for what few entities match; add a patient, "
    "an accession number, a narrower range of dates or, for series and instances, their study"
)
_DAMAGED = "the index is damaged ({}): stop the server, run `imagerepo index rebuild`, and start it again"

_JOINS = (
    "JOIN series s ON s.id = i.series_id JOIN study t ON t.id = i.study_id "
    "JOIN version v ON v.instance_id = i.id AND v.number = {number} "
    "JOIN copy c ON c.instance_id = v.instance_id AND c.number = v.number AND c.copy = 0 "
    'JOIN "range" r ON r.instance_id = v.instance_id AND r.number = v.number AND r.copy = c.copy '
    "JOIN object o ON o.id = r.object_id "
)
_ONE = (
    f"SELECT {VERSION_COLUMNS} FROM instance i {_JOINS.format(number='coalesce(?, i.current)')}"
    "WHERE i.institution_id = ? AND i.uid = ? ORDER BY r.ordinal"
)
# The page is cut before the joins, so that a version with many ranges counts once.
_PAGE = (
    f"SELECT i.id, {VERSION_COLUMNS} FROM (SELECT i.* FROM instance i WHERE {{within}} "
    f"ORDER BY i.series_id, i.id LIMIT ?) i {_JOINS.format(number='i.current')}"
    "ORDER BY i.series_id, i.id, r.ordinal"
)
_ARRIVALS = (
    f"SELECT i.id, n.name, {VERSION_COLUMNS} FROM (SELECT * FROM instance WHERE id > ? ORDER BY id LIMIT ?) i "
    f"{_JOINS.format(number='i.current')} JOIN institution n ON n.id = i.institution_id ORDER BY i.id, r.ordinal"
)
_IN_STUDY = "i.study_id = ? AND (i.series_id, i.id) > (?, ?)"
_IN_SERIES = "i.study_id = ? AND i.series_id = ? AND i.id > ?"


class SqlIndex:
    """Reads through one connection a thread."""

    def __init__(self, data: Path) -> None:
        self._connections = PerThread(lambda: connect(data / INDEX))
        self._institutions: dict[str, int] = {}

    def version(self, scope: Scope) -> Version:
        """The version that `scope` names. Raises NotFoundError."""
        rows = self._rows(_ONE, (scope.version, self._institution(scope.institution), scope.instance_uid))
        if rows:
            found = version_of(scope.institution, rows)
            if scope.study_uid in {None, found.study_uid} and scope.series_uid in {None, found.series_uid}:
                return found
        which = f" version {scope.version}" if scope.version is not None else ""
        raise NotFoundError(f"no instance {scope.instance_uid}{which} here")

    def versions(self, scope: Scope, after: int, limit: int) -> Sequence[tuple[int, Version]]:
        """A page of current versions with their positions, by series, then in order of storing."""
        if scope.instance_uid is not None:
            return [(1, self.version(scope))] if after == 0 else []
        study, series = self._container(scope)
        if series is None:
            seen = self._rows("SELECT series_id FROM instance WHERE id = ?", (after,))
            if after and not seen:
                raise NotFoundError("the instance that came last was deleted meanwhile; ask for the study again")
            within, keys = _IN_STUDY, (study, seen[0][0] if seen else 0)
        else:
            within, keys = _IN_SERIES, (study, series)
        rows = self._rows(_PAGE.format(within=within), (*keys, after, limit))
        return [
            (position, version_of(scope.institution, [row[1:] for row in group]))
            for position, group in groupby(rows, key=lambda row: row[0])
        ]

    def arrivals(self, after: int, limit: int) -> Sequence[tuple[int, Version]]:
        """A page of all current versions with their positions, in order of first arrival."""
        return [
            (position, version_of(name, [row[2:] for row in group]))
            for (position, name), group in groupby(self._rows(_ARRIVALS, (after, limit)), key=lambda row: row[:2])
        ]

    def last_arrival(self) -> int:
        """The position of the instance that arrived last."""
        return self._rows("SELECT coalesce(max(id), 0) FROM instance", ())[0][0]

    def search(self, query: Query) -> Sequence[Found]:
        """Entities that match, newest first."""
        institution = self._find_institution(query.institution)
        if institution is None:
            return []
        budget = Budget(_STEPS + _STEPS_A_ROW * (query.limit + min(query.offset, _OFFSET)))
        with budget.spent_by(self._connections.get()):
            made = way(query, institution, self._count).page(query.limit, query.offset)
            return found_of(self._rows(made.sql, made.parameters), query.level)

    def pages(self, query: Query) -> Iterator[Sequence[Found]]:
        """Likewise, a page at a time; each begins behind the last row of the one before."""
        institution = self._find_institution(query.institution)
        if institution is None:
            return
        budget = Budget(_STEPS + _STEPS_A_ROW * min(query.offset, _OFFSET))
        size, left, offset, after = _ROWS_FIRST, query.limit, query.offset, None
        with budget.spent_by(self._connections.get()):
            chosen = way(query, institution, self._count)
        while left > 0:
            size = min(size, left)
            budget.add(_STEPS_A_ROW * size)
            made = chosen.page(size, offset, after)
            # Whoever takes the pages may go on in another thread, with another connection.
            with budget.spent_by(self._connections.get()):
                rows = self._rows(made.sql, made.parameters)
            if rows:
                yield found_of(rows, query.level)
            if len(rows) < size:
                return
            left, size, offset, after = left - len(rows), _ROWS_A_PAGE, 0, rows[-1][-chosen.places :]

    def _count(self, counting: Statement) -> int:
        return self._rows(counting.sql, counting.parameters)[0][0]

    def study_of(self, scope: Scope) -> str:
        """The Study Instance UID that holds a series or instance. Raises NotFoundError."""
        institution = self._institution(scope.institution)
        if scope.instance_uid is not None:
            table, uid = "instance", scope.instance_uid
        elif scope.series_uid is not None:
            table, uid = "series", scope.series_uid
        else:
            table, uid = "study", scope.study_uid
        join = "study t" if table == "study" else f"{table} x JOIN study t ON t.id = x.study_id"
        alias = "t" if table == "study" else "x"
        rows = self._rows(
            f"SELECT t.uid FROM {join} WHERE {alias}.institution_id = ? AND {alias}.uid = ? LIMIT 1",
            (institution, uid),
        )
        if not rows:
            raise NotFoundError(f"no {table} {uid} here")
        return rows[0][0]

    def holdings(self) -> Mapping[str, Holdings]:
        """What every institution has."""
        rows = self._rows(
            "SELECT n.name, h.study_count, h.series_count, h.instance_count, h.hot_bytes, h.cold_bytes "
            "FROM holding h JOIN institution n ON n.id = h.institution_id",
            (),
        )
        return {
            name: Holdings(studies, series, instances, {Tier.HOT: hot, Tier.COLD: cold})
            for name, studies, series, instances, hot, cold in rows
        }

    def check(self) -> None:
        """Raise UnavailableError if the index cannot be read."""
        self._rows("SELECT 1 FROM institution LIMIT 1", ())

    def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._connections.get().execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                raise TooLargeError(_TOO_BROAD) from error
            if is_damage(error):
                log.error("index.damaged", extra={"reason": str(error)})  # noqa: TRY400 - the reason says all
                raise UnavailableError(_DAMAGED.format(error)) from error
            raise UnavailableError(f"the index cannot be read: {error}") from error

    def _find_institution(self, name: str) -> int | None:
        key = self._institutions.get(name)
        if key is None:
            rows = self._rows("SELECT id FROM institution WHERE name = ?", (name,))
            if rows:
                key = self._institutions[name] = rows[0][0]
        return key

    def _institution(self, name: str) -> int:
        key = self._find_institution(name)
        if key is None:
            raise NotFoundError(f"institution {name!r} has stored nothing yet")
        return key

    def _container(self, scope: Scope) -> tuple[int, int | None]:
        """Keys of the study, and of the series if the scope names one."""
        institution = self._institution(scope.institution)
        if scope.series_uid is None:
            find = "SELECT id FROM study WHERE institution_id = ? AND uid = ?"
            rows = self._rows(find, (institution, scope.study_uid))
            if not rows:
                raise NotFoundError(f"no study {scope.study_uid} here")
            return rows[0][0], None
        rows = self._rows(
            "SELECT t.id, s.id, t.uid FROM series s JOIN study t ON t.id = s.study_id "
            "WHERE s.institution_id = ? AND s.uid = ?",
            (institution, scope.series_uid),
        )
        for study, series, study_uid in rows:
            if scope.study_uid in {None, study_uid}:
                return study, series
        raise NotFoundError(f"no series {scope.series_uid} here")
