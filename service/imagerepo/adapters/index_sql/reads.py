"""Reads of the index (ports.index.Index), whichever engine has it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import groupby
from typing import Any, Generic, Protocol, TypeAlias, TypeVar

from imagerepo.adapters.index_sql.dialect import Dialect
from imagerepo.adapters.index_sql.rows import VERSION_COLUMNS, found_of, version_of
from imagerepo.adapters.index_sql.search import Statement, Way, way
from imagerepo.errors import NotFoundError
from imagerepo.model.instance import Version
from imagerepo.model.query import Found, Query
from imagerepo.model.scope import Scope
from imagerepo.model.tier import Tier
from imagerepo.ports.index import Holdings

_ROWS_FIRST = 100  # rows: soon there
_ROWS_A_PAGE = 500  # rows
TOO_BROAD = (
    "the search is too broad: too much would have to be looked through for what few entities match; add a patient, "
    "an accession number, a narrower range of dates or, for series and instances, their study"
)

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
    "ORDER BY {order}, i.id, r.ordinal"
)
_ARRIVALS = (
    f"SELECT i.id, n.name, {VERSION_COLUMNS} FROM (SELECT * FROM instance WHERE id > ? ORDER BY id LIMIT ?) i "
    f"{_JOINS.format(number='i.current')} JOIN institution n ON n.id = i.institution_id ORDER BY {{order}}, r.ordinal"
)
_SUMS = ", ".join(
    f"CAST(sum(h.{one}) AS bigint)"
    for one in ("study_count", "series_count", "instance_count", "hot_bytes", "cold_bytes")
)
_IN_STUDY = "i.study_id = ? AND (i.series_id, i.id) > (?, ?)"
_IN_SERIES = "i.study_id = ? AND i.series_id = ? AND i.id > ?"


Row: TypeAlias = tuple[Any, ...]
Ask: TypeAlias = Callable[[str, Sequence[object]], list[Row]]
"""Runs a statement, SQL and its parameters. Raises UnavailableError."""

B = TypeVar("B")


class Engine(Protocol[B]):
    """A database that has the index's tables."""

    @property
    def dialect(self) -> Dialect:
        """What it understands."""
        ...

    def rows(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        """What a statement answers, in the dialect's words. Raises UnavailableError."""
        ...

    def budget(self, answered: int, passed_over: int) -> B:
        """What a search may cost that is asked for so many rows."""
        ...

    def grant(self, budget: B, rows: int) -> None:
        """Add what so many more rows may cost."""
        ...

    def within(self, budget: B) -> AbstractContextManager[Ask]:
        """What is asked meanwhile costs no more than is left. Raises TooLargeError when nothing is."""
        ...


class Reads(Generic[B]):
    """Reads of one engine's tables (ports.index.Index)."""

    def __init__(self, engine: Engine[B]) -> None:
        self._engine = engine
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
        rows = self._rows(
            _PAGE.format(within=within, order=self._engine.dialect.sorted_by("i.series_id")), (*keys, after, limit)
        )
        return [
            (position, version_of(scope.institution, [row[1:] for row in group]))
            for position, group in groupby(rows, key=lambda row: row[0])
        ]

    def arrivals(self, after: int, limit: int) -> Sequence[tuple[int, Version]]:
        """A page of all current versions with their positions, in order of first arrival."""
        rows = self._rows(_ARRIVALS.format(order=self._engine.dialect.sorted_by("i.id")), (after, limit))
        return [
            (position, version_of(name, [row[2:] for row in group]))
            for (position, name), group in groupby(rows, key=lambda row: row[:2])
        ]

    def last_arrival(self) -> int:
        """The position of the instance that arrived last."""
        return self._rows("SELECT coalesce(max(id), 0) FROM instance", ())[0][0]

    def settle(self) -> None:
        """Nothing: what is seen is on the disk."""

    def search(self, query: Query) -> Sequence[Found]:
        """Entities that match, newest first."""
        institution = self._find_institution(query.institution)
        if institution is None:
            return []
        dialect, budget = self._engine.dialect, self._engine.budget(query.limit, query.offset)
        with self._engine.within(budget) as ask:
            made = _way(query, institution, dialect, ask).page(query.limit, query.offset)
            return found_of(ask(made.sql, made.parameters), query.level)

    def pages(self, query: Query) -> Iterator[Sequence[Found]]:
        """Likewise, a page at a time; each begins behind the last row of the one before."""
        institution = self._find_institution(query.institution)
        if institution is None:
            return
        dialect, budget = self._engine.dialect, self._engine.budget(0, query.offset)
        size, left, offset, after = _ROWS_FIRST, query.limit, query.offset, None
        with self._engine.within(budget) as ask:
            chosen = _way(query, institution, dialect, ask)
        while left > 0:
            size = min(size, left)
            self._engine.grant(budget, size)
            made = chosen.page(size, offset, after)
            # Whoever takes the pages may go on in another thread, with another connection.
            with self._engine.within(budget) as ask:
                rows = ask(made.sql, made.parameters)
            if rows:
                yield found_of(rows, query.level)
            if len(rows) < size:
                return
            left, size, offset, after = left - len(rows), _ROWS_A_PAGE, 0, rows[-1][-chosen.places :]

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
            f"SELECT n.name, {_SUMS} FROM holding h JOIN institution n ON n.id = h.institution_id GROUP BY n.name",
            (),
        )
        return {
            name: Holdings(studies, series, instances, {Tier.HOT: hot, Tier.COLD: cold})
            for name, studies, series, instances, hot, cold in rows
        }

    def check(self) -> None:
        """Raise UnavailableError if the index cannot be read."""
        self._rows("SELECT 1 FROM institution LIMIT 1", ())

    def _rows(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        return self._engine.rows(self._engine.dialect.statement(sql), parameters)

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


def _way(query: Query, institution: int, dialect: Dialect, ask: Ask) -> Way:
    def count(counting: Statement) -> int:
        return ask(counting.sql, counting.parameters)[0][0]

    return way(query, institution, dialect, count)
