"""A query to SQL: one index drives it and gives the order; the other matches filter what it yields."""

from collections.abc import Callable
from dataclasses import dataclass

from imagerepo.adapters.index_sql import drives
from imagerepo.adapters.index_sql.drives import Drive
from imagerepo.adapters.index_sql.matching import Condition, of_entity
from imagerepo.adapters.index_sql.rows import INSTANCE_COLUMNS, SERIES_COLUMNS, STUDY_COLUMNS
from imagerepo.model.query import Level, Query

FEW = 1000  # rows: a way that begins from no more is taken at once, whatever else there is


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL and its parameters."""

    sql: str
    parameters: tuple[str | int, ...]


_COLUMNS_OF = {
    Level.STUDY: ", ".join(f"t.{name}" for name in STUDY_COLUMNS),
    Level.SERIES: ", ".join(f's."{name}"' for name in SERIES_COLUMNS),
    Level.INSTANCE: ", ".join(f'i."{name}"' for name in INSTANCE_COLUMNS) + ", v.transfer_syntax",
}


def statement(query: Query, institution: int, count: Callable[[Statement], int]) -> Statement:
    """The statement whose rows are a study's, then a series', then an instance's columns, as deep as the level.

    Args:
        query: what is asked.
        institution: its key.
        count: runs a statement that counts rows, FEW + 1 at the most.
    """
    drive = _choose(query, institution, count)
    conditions = [Condition(f"{drive.holder}.institution_id = ?", (institution,)), *drive.conditions]
    conditions += [of_entity(key, match, query.level) for key, match in query.matches]
    columns = ", ".join(_COLUMNS_OF[level] for level in _levels(query.level))
    where = " AND ".join(one.sql for one in conditions)
    sql = f"SELECT {columns} FROM {drive.source} WHERE {where} ORDER BY {drive.order} LIMIT ? OFFSET ?"
    return Statement(sql, (*(value for one in conditions for value in one.parameters), query.limit, query.offset))


def _choose(query: Query, institution: int, count: Callable[[Statement], int]) -> Drive:
    """The way that is taken; it does not depend on the page, so that pages go on from each other."""
    named = drives.by_uid(query)
    if named is not None:
        return named
    ways = list(drives.candidates(query))
    in_order = next((way for way in ways if not way.sorts), None) or drives.newest(query.level)
    if ways == [in_order]:
        return in_order
    return next((way for way in ways if count(_probe(way, institution)) <= FEW), in_order)


def _probe(way: Drive, institution: int) -> Statement:
    where = Condition(f"{way.holder}.institution_id = ?", (institution,)), way.begins
    conditions = [one for one in where if way.is_of_institution or one is way.begins]
    sql = " AND ".join(one.sql for one in conditions)
    parameters = (value for one in conditions for value in one.parameters)
    return Statement(f"SELECT count(*) FROM (SELECT 1 FROM {way.start} WHERE {sql} LIMIT {FEW + 1})", (*parameters,))


def _levels(level: Level) -> tuple[Level, ...]:
    order = (Level.STUDY, Level.SERIES, Level.INSTANCE)
    return order[: order.index(level) + 1]
