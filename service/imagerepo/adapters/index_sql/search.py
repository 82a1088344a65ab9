"""A query to SQL: one index drives it and gives the order; the other matches filter what it yields.

A patient is what studies with one Patient ID of one issuer have in common; it is answered where the earliest of its
studies that match comes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from imagerepo.adapters.index_sql import drives
from imagerepo.adapters.index_sql.conditions import Condition, all_of
from imagerepo.adapters.index_sql.dialect import Dialect, Drive
from imagerepo.adapters.index_sql.matching import of_entity
from imagerepo.adapters.index_sql.rows import INSTANCE_COLUMNS, SERIES_COLUMNS, STUDY_COLUMNS
from imagerepo.model.query import Level, Query

FEW = 1000  # rows: a way that begins from no more is taken at once, whatever else there is
MANY = 20  # rows of a sample


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and its parameters."""

    sql: str
    parameters: tuple[str | int, ...]


_SAME_PATIENT_ID = "p.institution_id = t.institution_id AND p.patient_id = t.patient_id"
_SAME_ISSUER = "p.issuer_of_patient_id = t.issuer_of_patient_id"
_SUMS = ("count(*)", "CAST(sum(p.series_count) AS bigint)", "CAST(sum(p.instance_count) AS bigint)")
_COLUMNS_OF = {
    Level.STUDY: ", ".join(f"t.{name}" for name in STUDY_COLUMNS),
    Level.SERIES: ", ".join(f's."{name}"' for name in SERIES_COLUMNS),
    Level.INSTANCE: ", ".join(f'i."{name}"' for name in INSTANCE_COLUMNS) + ", v.transfer_syntax",
}
_ROWS_OF = {
    Level.STUDY: (Level.STUDY,),
    Level.SERIES: (Level.STUDY, Level.SERIES),
    Level.INSTANCE: (Level.STUDY, Level.SERIES, Level.INSTANCE),
}


@dataclass(frozen=True, slots=True)
class Way:
    """A query and how it is gone about; its pages go on from each other while it is held."""

    query: Query
    institution: int  # its key
    drive: Drive
    dialect: Dialect

    def page(self, limit: int, offset: int = 0, after: Sequence[Any] | None = None) -> Statement:
        """A page's statement.

        Its rows are a study's, then a series', then an instance's columns, as deep as the level, or a study's and
        its patient's sums; then the row's place.

        Args:
            limit: rows at the most.
            offset: rows passed over.
            after: the place of the last row that was had.
        """
        drive = self.drive
        left = self.query
        if drive.served is not None:  # not asked again: as a filter it would mislead whoever estimates rows
            left = replace(left, matches=tuple(one for one in left.matches if one[0] is not drive.served))
        conditions = [drive.within(self.institution), *drive.conditions, *of_entity(left, self.dialect)]
        if self.query.level is Level.PATIENT:
            conditions.append(_first_of_patient(self.query, self.dialect))
        if after is not None:
            conditions += _beyond(drive, tuple(after))
        place = (*drive.descending, *drive.then)
        columns = ", ".join((_columns(self.query.level, self.dialect), *place))
        where = all_of(conditions)
        order = ", ".join(f"{one} DESC" for one in drive.descending)
        sql = f"SELECT {columns} FROM {drive.source} WHERE {where.sql} ORDER BY {order} LIMIT ? OFFSET ?"
        return Statement(self.dialect.statement(sql), (*where.parameters, limit, offset))

    @property
    def places(self) -> int:
        """Columns that tell a row's place, at its end."""
        return len(self.drive.descending) + len(self.drive.then)


def way(query: Query, institution: int, dialect: Dialect, count: Callable[[Statement], int]) -> Way:
    """How to go about a query.

    Args:
        query: what is asked.
        institution: its key.
        dialect: of the engine that is asked.
        count: runs a statement that counts rows, as far as it matters.
    """
    return Way(query, institution, _choose(query, institution, dialect, count), dialect)


def _choose(query: Query, institution: int, dialect: Dialect, count: Callable[[Statement], int]) -> Drive:
    """The way that is taken; it does not depend on the page, so that pages go on from each other."""
    named = drives.by_uid(query, institution, dialect)
    if named is not None:
        return named
    ways = drives.candidates(query, institution, dialect)
    in_order = next((way for way in ways if not way.sorts), None) or dialect.newest(query.level)
    if ways == [in_order]:
        return in_order
    return next((way for way in ways if _is_short(way, institution, dialect, count)), in_order)


def _is_short(way: Drive, institution: int, dialect: Dialect, count: Callable[[Statement], int]) -> bool:
    """Whether a way begins from few rows; where many of the newest match, looking at those is the shorter way."""
    if way.sample is not None:
        sample = Statement(dialect.statement(f"SELECT count(*) FROM {way.sample.sql}"), way.sample.parameters)
        if count(sample) > MANY:
            return False
    return count(_probe(way, institution, dialect)) <= FEW * way.reach


def _probe(way: Drive, institution: int, dialect: Dialect) -> Statement:
    where = [way.within(institution)] if way.is_of_institution else []
    one = all_of([*where, way.begins])
    enough = FEW * way.reach + 1
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {way.start} WHERE {one.sql} LIMIT {enough}) few"
    return Statement(dialect.statement(sql), one.parameters)


@cache
def _studies_of_patient(dialect: Dialect) -> str:
    """A source, with what it asks."""
    return f"{dialect.led_by('study p', 'study_by_patient_id', _SAME_PATIENT_ID)} AND {_SAME_ISSUER}"


@cache
def _columns(level: Level, dialect: Dialect) -> str:
    if level is not Level.PATIENT:
        return ", ".join(_COLUMNS_OF[one] for one in _ROWS_OF[level])
    studies = _studies_of_patient(dialect)
    return ", ".join((_COLUMNS_OF[Level.STUDY], *(f"(SELECT {one} FROM {studies})" for one in _SUMS)))


def _first_of_patient(query: Query, dialect: Dialect) -> Condition:
    """No earlier study of the same patient matches too."""
    same = all_of([Condition("p.id < t.id"), *of_entity(query, dialect, "p")])
    earlier = dialect.exists(f"{_studies_of_patient(dialect)} AND {same.sql}")
    return Condition(f"NOT {earlier}", same.parameters)


def _beyond(drive: Drive, after: tuple[str | int, ...]) -> list[Condition]:
    """Rows that come after a place."""
    columns, values = drive.descending, after[: len(drive.descending)]
    # What the driving table itself can tell, so that its index begins there.
    own = [one.partition(".")[0] for one in columns]
    lead = next((number for number, alias in enumerate(own) if alias != own[0]), len(own))
    begin = Condition(f"{_row(columns[:lead])} <= {_row('?' * lead)}", values[:lead])
    later = Condition(f"{_row(columns)} < {_row('?' * len(columns))}", values)
    if not drive.then:
        return [begin, later]
    same = Condition(f"{_row(columns)} = {_row('?' * len(columns))}", values)
    below = Condition(f"{_row(drive.then)} > {_row('?' * len(drive.then))}", after[len(columns) :])
    beside = all_of([same, below])
    return [begin, Condition(f"({later.sql} OR {beside.sql})", (*later.parameters, *beside.parameters))]


def _row(items: Sequence[str]) -> str:
    return f"({', '.join(items)})"
