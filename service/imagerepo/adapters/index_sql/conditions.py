"""Conditions in SQL, with their parameters."""

from collections.abc import Iterable
from typing import NamedTuple


class Condition(NamedTuple):  # several for each search: made in half a frozen dataclass's time
    """SQL and its parameters."""

    sql: str
    parameters: tuple[str | int, ...] = ()


ALL = Condition("TRUE")


def all_of(conditions: Iterable[Condition]) -> Condition:
    """All of these hold."""
    given = tuple(conditions)
    sql = " AND ".join(one.sql for one in given) or ALL.sql
    return Condition(sql, tuple(value for one in given for value in one.parameters))
