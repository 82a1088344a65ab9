"""What the engines differ in, as far as searches go.

Statements are put together once, for all engines, in SQLite's words: `?` for a parameter, INDEXED BY for the index
that is meant, CROSS JOIN for loops in the order in which they are written. A dialect makes of a whole statement what
its engine takes, and says which order an index gives.
"""

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from imagerepo.adapters.index_sql.conditions import ALL, Condition
from imagerepo.model.query import Key, Level, Match, Query


@dataclass(frozen=True, slots=True)
class Drive:
    """Where rows come from."""

    source: str
    holder: str  # alias of the table whose institution is compared
    descending: tuple[str, ...]  # columns by which rows are ordered, the last first
    conditions: tuple[Condition, ...] = ()  # besides those of the query
    start: str = ""  # the part of the source that this way begins from
    begins: Condition = ALL  # which rows of it
    is_of_institution: bool = True  # whether that part knows institutions
    sorts: bool = False  # its rows do not come in order, or only after all have been looked for
    then: tuple[str, ...] = ()  # columns in whose order rows come by themselves below those, the first first
    belongs: str = "{}.institution_id = ?"  # how the institution is compared
    served: Key | None = None  # asked of all its rows already
    reach: int = 1  # times as many rows (search.FEW) that it may begin from and be taken at once
    sample: Condition | None = None  # behind FROM: those among the newest rows; where they are many it is not taken

    def within(self, institution: int) -> Condition:
        """That what is found is of an institution, by its key."""
        return Condition(self.belongs.format(self.holder), (institution,) * self.belongs.count("?"))


Columns: TypeAlias = tuple[str, ...]


class Dialect(Protocol):
    """One engine's."""

    def statement(self, sql: str) -> str:
        """A whole statement as the engine takes it."""
        ...

    def equals(self, at: str, value: str) -> Condition:
        """That the text at a column is this one."""
        ...

    def is_named(self, at: str, uids: tuple[str, ...]) -> Condition:
        """That the UID at a column is one of these; `by_uid` leads there."""
        ...

    def contains(self, text: str, value: str) -> Condition:
        """That this is part of a text, which is SQL."""
        ...

    def glob(self, at: str, pattern: str) -> Condition:
        """That the text at a column matches a pattern: `*`, `?`, `[…]` for one of several characters."""
        ...

    def sorted_by(self, column: str) -> str:
        """A number by which a few rows are sorted first, whatever way they come."""
        ...

    def exists(self, rows: str) -> str:
        """That there are such rows: what stands behind FROM."""
        ...

    def led_by(self, source: str, index: str, where: str) -> str:
        """A source within a statement, with what leads into it by an index; more may follow with AND.

        Args:
            source: a table with its alias.
            index: which one.
            where: what it serves.
        """
        ...

    def order(self, key: Key, match: Match, at: str, arrival: Columns) -> Columns | None:
        """The order in which the index of a key gives what matches, the last first; None: in none.

        Args:
            key: whose index it is.
            match: what is asked of it.
            at: the key's column.
            arrival: the columns of the order of arrival, with which the index ends.
        """
        ...

    def gathered(self, key: Key, match: Match, holder: Level, level: Level, institution: int) -> Drive | None:
        """The way by the keys of all studies or series (`holder`) that match, if there is one."""
        ...

    def by_uid(self, key: Key, match: Match, level: Level, institution: int) -> Drive:
        """The way from what is named to what is above or below it."""
        ...

    def newest(self, level: Level) -> Drive:
        """All of an institution, newest first."""
        ...

    def by_trigrams_of_studies(self, query: Query, institution: int) -> Drive | None:
        """The way by what studies have within their texts, if something is asked of that."""
        ...

    def by_trigrams_of_series(self, query: Query, institution: int) -> Drive | None:
        """Likewise of series."""
        ...
