"""PostgreSQL: it chooses the index itself, so that a statement says by its order which one is meant.

Rows are wanted in the order of all columns of one index behind the institution; no other index gives that order. For
this no column of it may be pinned by `=`: the planner would leave it out of the order, and other indexes would do. So
a value is asked for as a range of one value, and where all of an institution is wanted, so is the institution.
planning.py has what else makes a plan what it is.

What comes in no order, as by trigrams (pg_trgm), leads the way where it leads to few rows: their keys are gathered
first, and the index of keys gives them in order. Where it leads to many, so many of the newest match that looking at
those is the shorter way.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from imagerepo.adapters.index_sql.conditions import Condition, all_of
from imagerepo.adapters.index_sql.dialect import Columns, Drive
from imagerepo.adapters.index_sql.loops import ARRIVAL, BELOW_SERIES, BELOW_STUDY, BY_INSTANCE_UID
from imagerepo.adapters.index_sql.matching import condition, is_bounded, literals
from imagerepo.model.query import Equals, Key, Level, Match, OneOf, Query

_HINT: Final = re.compile(r" INDEXED BY \w+")
_BRACKET: Final = "[[]"  # as patterns escape it
_MARK: Final = re.compile(r"\[\[\]|\[[^\]]+\]|.", re.DOTALL)
_TRIGRAM: Final = re.compile(r"[^\W_]{3}")  # pg_trgm looks at letters and digits alone
_OF_STUDIES: Final = frozenset({
    Key.PATIENT_NAME,
    Key.PATIENT_ID,
    Key.STUDY_DESCRIPTION,
    Key.ACCESSION_NUMBER,
    Key.REFERRING_PHYSICIAN_NAME,
})  # fmt: skip
_OF_SERIES: Final = frozenset({Key.SERIES_DESCRIPTION})
_TABLES: Final = {Level.PATIENT: "study", Level.STUDY: "study", Level.SERIES: "series", Level.INSTANCE: "instance"}
# By the level whose keys are gathered: its alias, the source, and where in the order of arrival its own begins.
_BY_KEYS: Final = {
    Level.STUDY: ("t", "study t", 0),
    Level.SERIES: ("s", "series s JOIN study t ON t.id = s.study_id", 1),
    Level.INSTANCE: ("i", BY_INSTANCE_UID, 2),
}
_REACH: Final = 10  # so that few are 10,000: their keys are gathered in some 30 ms
_SAMPLE: Final = 1000  # studies: looked at in a millisecond


@dataclass(frozen=True, slots=True)
class Postgres:
    """PostgreSQL's (index_sql.dialect.Dialect)."""

    has_trigrams: bool  # pg_trgm's indexes are there

    def statement(self, sql: str) -> str:
        """Without hints, with the driver's places for parameters."""
        return _statement(sql)

    def equals(self, at: str, value: str) -> Condition:
        """That the text at a column is this one; see above."""
        return Condition(f"{at} BETWEEN ? AND ?", (value, value))

    def is_named(self, at: str, uids: tuple[str, ...]) -> Condition:
        """That the UID at a column is one of these, of what others have led to; by an expression, as for patterns."""
        return Condition(f"({at} || '') IN ({', '.join('?' * len(uids))})", uids)

    def contains(self, text: str, value: str) -> Condition:
        """That this is part of a text."""
        return Condition(f"strpos({text}, ?) > 0", (value,))

    def glob(self, at: str, pattern: str) -> Condition:
        """That the text at a column matches a pattern, of what an index has led to.

        By an expression: no index of trigrams is to be looked at for each row that came by another.
        """
        return _matches(f"({at} || '')", pattern)

    def sorted_by(self, column: str) -> str:
        """By an expression: an index in the column's order would be read from its beginning instead."""
        return f"{column} + 0"

    def exists(self, rows: str) -> str:
        """OFFSET has it looked at where its row comes; without it, it would be a join behind all others."""
        return f"EXISTS (SELECT 1 FROM {rows} OFFSET 0)"

    def led_by(self, source: str, index: str, where: str) -> str:  # noqa: ARG002 - as all
        """OFFSET keeps what follows out: the planner can't take the index of that instead."""
        return f"(SELECT * FROM {source} WHERE {where} OFFSET 0) {source.rpartition(' ')[2]} WHERE TRUE"

    def order(self, key: Key, match: Match, at: str, arrival: Columns) -> Columns | None:  # noqa: ARG002 - as all
        """All columns of the index; several values it gives one after another, in no order."""
        return None if isinstance(match, OneOf) else (at, *arrival)

    def gathered(self, key: Key, match: Match, holder: Level, level: Level, institution: int) -> Drive:
        """The way by the keys of all studies or series that match."""
        table, wanted = _place(key.level, holder)
        asked = condition(key, match, self, "g")
        begins = all_of([Condition("g.institution_id = ?", (institution,)), asked])
        return _few(_by_keys(wanted, f"{table} g", begins, holder, level), table, asked, institution)

    def by_uid(self, key: Key, match: Match, level: Level, institution: int) -> Drive:
        """The way from what is named."""
        uids = match.values if isinstance(match, OneOf) else (match.value if isinstance(match, Equals) else "",)
        holder = min(key.level, max(level, Level.STUDY, key=_depth), key=_depth)
        table, wanted = _place(key.level, holder)
        # As a condition, many would be looked for among all that some index of the institution leads to.
        named = f"(VALUES {', '.join(['(?)'] * len(uids))}) u (uid)"
        start = f"{named} JOIN {table} g ON g.institution_id = ? AND g.uid = u.uid"
        way = _by_keys(wanted, start, Condition("TRUE", (*uids, institution)), holder, level)
        way = replace(way, served=key if wanted == "id" else None)
        if holder is not Level.STUDY or level is not Level.INSTANCE:
            return way
        # All below a study comes from one index in its order, and nothing but a page of it is read.
        (among,) = way.conditions
        of_studies = Condition(among.sql.replace("t.id", "i.study_id", 1), among.parameters)
        order = ("i.study_id", "i.series_id", "i.id")
        return replace(way, source=BY_INSTANCE_UID, holder="i", descending=order, conditions=(of_studies,))

    def newest(self, level: Level) -> Drive:
        """All of an institution, newest first."""
        order = ("t.institution_id", *ARRIVAL[level])
        return Drive(f"study t{BELOW_STUDY[level]}", "t", order, belongs="{}.institution_id BETWEEN ? AND ?")

    def by_trigrams_of_studies(self, query: Query, institution: int) -> Drive | None:
        """The way by all that is asked of studies' trigrams at once."""
        return self._by_trigrams(query, _OF_STUDIES, institution, Level.STUDY)

    def by_trigrams_of_series(self, query: Query, institution: int) -> Drive | None:
        """The way by all that is asked of series' trigrams at once."""
        holder = Level.SERIES if query.level.depth >= Level.SERIES.depth else Level.STUDY
        return self._by_trigrams(query, _OF_SERIES, institution, holder)

    def _by_trigrams(self, query: Query, keys: frozenset[Key], institution: int, holder: Level) -> Drive | None:
        asked = [
            (key, match)
            for key, match in query.matches
            # What lies together in an index of its own is found by that.
            if key in keys and not is_bounded(key, match) and any(map(_TRIGRAM.search, literals(key, match)))
        ]
        if not asked or not self.has_trigrams:
            return None
        table, wanted = _place(asked[0][0].level, holder)
        leading = [condition(key, match, _Leading(self.has_trigrams), "g") for key, match in asked]
        # By an expression: no index that begins with the institution is to be taken instead.
        begins = all_of([*leading, Condition("g.institution_id + 0 = ?", (institution,))])
        way = _by_keys(wanted, f"{table} g", begins, holder, query.level)
        return _few(way, table, all_of(condition(key, match, self, "g") for key, match in asked), institution)


@dataclass(frozen=True, slots=True)
class _Leading(Postgres):
    """The same, for rows that are to be gathered by what their texts match."""

    def glob(self, at: str, pattern: str) -> Condition:
        """That the text at a column matches a pattern; its trigrams lead there."""
        return _matches(at, pattern)


def _matches(text: str, pattern: str) -> Condition:
    """By LIKE, and where the pattern has classes by a regular expression."""
    marks = _MARK.findall(pattern)
    if all(len(mark) == 1 or mark == _BRACKET for mark in marks):
        return Condition(f"{text} LIKE ?", ("".join(map(_like, marks)),))
    begins, ends = ("" if marks[at] == "*" else mark for at, mark in ((0, "^"), (-1, "$")))
    return Condition(f"{text} ~ ?", (begins + "".join(map(_expression, _stripped(marks))) + ends,))


def _stripped(marks: list[str]) -> list[str]:
    """Without what matches anything at either end: an expression is looked for anywhere."""
    return marks[marks[0] == "*" : len(marks) - (marks[-1] == "*")]


def _depth(level: Level) -> int:
    return level.depth


def _place(level: Level, holder: Level) -> tuple[str, str]:
    """The table of a level, and the column in which it has the key of `holder`, at or above it."""
    own, above = _TABLES[level], _TABLES[holder]
    return own, "id" if own == above else f"{above}_id"


def _by_keys(wanted: str, start: str, begins: Condition, holder: Level, level: Level) -> Drive:
    """By keys of `holder` that are gathered first, each once."""
    select = f"SELECT g.{wanted} FROM {start} WHERE {begins.sql}"
    alias, source, order = _BY_KEYS[holder]
    below = {Level.STUDY: BELOW_STUDY, Level.SERIES: BELOW_SERIES}.get(holder, {}).get(level, "")
    return Drive(
        source + below,
        alias,
        ARRIVAL[level][order:],
        (Condition(f"{alias}.id = ANY(ARRAY({select}))", begins.parameters),),
        start,
        begins,
        is_of_institution=False,
        sorts=True,
        belongs="TRUE",
    )


def _few(way: Drive, table: str, asked: Condition, institution: int) -> Drive:
    """A way that is taken only where it begins from few rows.

    Args:
        way: begins from rows of `table`.
        table: `study` or `series`.
        asked: of rows with the alias `g`.
        institution: its key.
    """
    newest = (
        "SELECT * FROM study WHERE institution_id BETWEEN ? AND ? ORDER BY institution_id DESC, id DESC "
        f"LIMIT {_SAMPLE}"
    )
    rows = newest if table == "study" else f"SELECT s.* FROM ({newest}) t JOIN series s ON s.study_id = t.id"
    sample = Condition(f"({rows}) g WHERE {asked.sql}", (institution, institution, *asked.parameters))
    return replace(way, reach=_REACH, sample=sample)


@lru_cache(maxsize=256)  # there are about as many kinds of questions
def _statement(sql: str) -> str:
    return _HINT.sub("", sql).replace("CROSS JOIN", "JOIN").replace("?", "%s")


def _like(mark: str) -> str:
    match mark:
        case "*":
            return "%"
        case "?":
            return "_"
        case "%" | "_" | "\\":
            return f"\\{mark}"
        case _:
            return mark[0]  # of an escaped bracket too


def _expression(mark: str) -> str:
    match mark:
        case "*":
            return ".*"
        case "?":
            return "."
        case _ if len(mark) > 1 or mark.isalnum():
            return mark
        case _:
            return f"\\{mark}"
