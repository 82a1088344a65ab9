"""A query to SQL: one index drives it and gives the order; the other matches filter what it yields.

A patient is what studies with one Patient ID of one issuer have in common; it is answered where the earliest of its
studies that match comes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from imagerepo.adapters.index_sql import drives
from imagerepo.adapters.index_sql.drives import Drive
from imagerepo.adapters.index_sql.matching import Condition, all_of, of_entity
from imagerepo.adapters.index_sql.rows import INSTANCE_COLUMNS, SERIES_COLUMNS, STUDY_COLUMNS
from imagerepo.model.query import Level, Query

FEW = 1000  # rows: a way that begins from no more is taken at once, whatever else there is


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and its parameters."""

    sql: str
    parameters: tuple[str | int, ...]


_OF_PATIENT = (
    "p.institution_id = t.institution_id AND p.patient_id = t.patient_id "
    "AND p.issuer_of_patient_id = t.issuer_of_patient_id"
)
_SUMS = ("count(*)", "sum(p.series_count)", "sum(p.instance_count)")
_COLUMNS_OF = {
    Level.PATIENT: ", ".join(
        f"(SELECT {one} FROM study p INDEXED BY study_by_patient_id WHERE {_OF_PATIENT})" for one in _SUMS
    ),
    Level.STUDY: ", ".join(f"t.{name}" for name in STUDY_COLUMNS),
    Level.SERIES: ", ".join(f's."{name}"' for name in SERIES_COLUMNS),
    Level.INSTANCE: ", ".join(f'i."{name}"' for name in INSTANCE_COLUMNS) + ", v.transfer_syntax",
}
_ROWS_OF = {
    Level.PATIENT: (Level.STUDY, Level.PATIENT),
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
        conditions = [Condition(f"{drive.holder}.institution_id = ?", (self.institution,)), *drive.conditions]
        conditions += of_entity(self.query)
        if self.query.level is Level.PATIENT:
            conditions.append(_first_of_patient(self.query))
        if after is not None:
            conditions += _beyond(drive, tuple(after))
        place = (*drive.descending, *drive.then)
        columns = ", ".join((*(_COLUMNS_OF[level] for level in _ROWS_OF[self.query.level]), *place))
        where = all_of(conditions)
        order = ", ".join(f"{one} DESC" for one in drive.descending)
        sql = f"SELECT {columns} FROM {drive.source} WHERE {where.sql} ORDER BY {order} LIMIT ? OFFSET ?"
        return Statement(sql, (*where.parameters, limit, offset))

    @property
    def places(self) -> int:
        """Columns that tell a row's place, at its end."""
        return len(self.drive.descending) + len(self.drive.then)


def way(query: Query, institution: int, count: Callable[[Statement], int]) -> Way:
    """How to go about a query.

    Args:
        query: what is asked.
        institution: its key.
        count: runs a statement that counts rows, FEW + 1 at the most.
    """
    return Way(query, institution, _choose(query, institution, count))


def _choose(query: Query, institution: int, count: Callable[[Statement], int]) -> Drive:
    """The way that is taken; it does not depend on the page, so that pages go on from each other."""
    named = drives.by_uid(query, institution)
    if named is not None:
        return named
    ways = list(drives.candidates(query))
    in_order = next((way for way in ways if not way.sorts), None) or drives.newest(query.level)
    if ways == [in_order]:
        return in_order
    return next((way for way in ways if count(_probe(way, institution)) <= FEW), in_order)


def _probe(way: Drive, institution: int) -> Statement:
    where = Condition(f"{way.holder}.institution_id = ?", (institution,)), way.begins
    one = all_of([one for one in where if way.is_of_institution or one is way.begins])
    sql = f"SELECT count(*) FROM (SELECT 1 FROM {way.start} WHERE {one.sql} LIMIT {FEW + 1})"
    return Statement(sql, one.parameters)


def _first_of_patient(query: Query) -> Condition:
    """No earlier study of the same patient matches too."""
    same = all_of([Condition(f"{_OF_PATIENT} AND p.id < t.id"), *of_entity(query, "p")])
    source = "study p INDEXED BY study_by_patient_id"
    return Condition(f"NOT EXISTS (SELECT 1 FROM {source} WHERE {same.sql})", same.parameters)


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
