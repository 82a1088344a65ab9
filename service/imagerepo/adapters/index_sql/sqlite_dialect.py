"""SQLite: it is told which index to take, and has trigrams in tables of their own (FTS5), in order of arrival."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from imagerepo.adapters.index_sql.conditions import Condition
from imagerepo.adapters.index_sql.dialect import Columns, Drive
from imagerepo.adapters.index_sql.loops import (
    ARRIVAL,
    BELOW_SERIES,
    BELOW_STUDY,
    BY_INSTANCE_UID,
    BY_SERIES_UID,
)
from imagerepo.adapters.index_sql.matching import condition, is_one_value, literals
from imagerepo.model.query import Key, Level, Match, Query


@dataclass(frozen=True, slots=True)
class Sqlite:
    """SQLite's (dialect.Dialect)."""

    def statement(self, sql: str) -> str:
        """Statements are written in its words."""
        return sql

    def equals(self, at: str, value: str) -> Condition:
        """That the text at a column is this one."""
        return Condition(f"{at} = ?", (value,))

    def is_named(self, at: str, uids: tuple[str, ...]) -> Condition:
        """That the UID at a column is one of these: its index serves that."""
        return Condition(f"{at} = ?" if len(uids) == 1 else f"{at} IN ({', '.join('?' * len(uids))})", uids)

    def contains(self, text: str, value: str) -> Condition:
        """That this is part of a text."""
        return Condition(f"instr({text}, ?) > 0", (value,))

    def glob(self, at: str, pattern: str) -> Condition:
        """That the text at a column matches a pattern."""
        return Condition(f"{at} GLOB ?", (pattern,))

    def sorted_by(self, column: str) -> str:
        """It has chosen the way before."""
        return column

    def exists(self, rows: str) -> str:
        """It looks at each row as it comes."""
        return f"EXISTS (SELECT 1 FROM {rows})"

    def led_by(self, source: str, index: str, where: str) -> str:
        """The index is named."""
        return f"{source} INDEXED BY {index} WHERE {where}"

    def order(self, key: Key, match: Match, at: str, arrival: Columns) -> Columns:
        """Several values come in the index's order, the latest dates first; one value leaves the order of arrival."""
        return arrival if is_one_value(key, match) else (at, *arrival)

    def gathered(self, key: Key, match: Match, holder: Level, level: Level, institution: int) -> None:
        """It sorts rows: no keys are gathered before."""

    def by_uid(self, key: Key, match: Match, level: Level, institution: int) -> Drive:
        """The way from what is named."""
        if key.level.depth > max(level.depth, Level.STUDY.depth):
            return _above_uid(key, condition(key, match, self), level, institution)
        match key.level:
            case Level.INSTANCE:
                return Drive(BY_INSTANCE_UID, "i", ARRIVAL[level])
            case Level.SERIES:
                return Drive(BY_SERIES_UID + BELOW_SERIES[level], "s", ARRIVAL[level][1:])
            case _:
                return Drive(f"study t{BELOW_STUDY[level]}", "t", ARRIVAL[level])

    def newest(self, level: Level) -> Drive:
        """All of an institution, newest first."""
        return Drive(f"study t INDEXED BY study_by_institution{BELOW_STUDY[level]}", "t", ARRIVAL[level])

    def by_trigrams_of_studies(self, query: Query, institution: int) -> Drive | None:  # noqa: ARG002 - as all
        """The way by all that is asked of studies' trigrams at once."""
        asked = _expressions(query, _OF_STUDIES)
        return _of_studies(" AND ".join(asked), query.level) if asked else None

    def by_trigrams_of_series(self, query: Query, institution: int) -> Drive | None:  # noqa: ARG002 - as all
        """The way by what is asked of series' trigrams."""
        asked = _expressions(query, _OF_SERIES)
        return _of_series(asked[0], query.level) if asked else None


SQLITE: Final = Sqlite()

# What has trigrams, and under which name.
_OF_STUDIES: Final = {
    Key.PATIENT_NAME: "patient_name",
    Key.PATIENT_ID: "patient_id",
    Key.STUDY_DESCRIPTION: "study_description",
    Key.ACCESSION_NUMBER: "accession_number",
    Key.REFERRING_PHYSICIAN_NAME: "referring_physician_name",
}
_OF_SERIES: Final = {Key.SERIES_DESCRIPTION: "series_description"}
_TRIGRAM: Final = 3


def _expressions(query: Query, names: Mapping[Key, str]) -> list[str]:
    """FTS5's, which every value that matches satisfies."""
    made: list[str] = []
    for key, match in query.matches:
        parts = [part for part in literals(key, match) if len(part) >= _TRIGRAM] if key in names else []
        if parts:
            quoted = " AND ".join('"' + part.replace('"', '""') + '"' for part in dict.fromkeys(parts))
            made.append(f"{names[key]} : ({quoted})")
    return made


def _above_uid(key: Key, named: Condition, level: Level, institution: int) -> Drive:
    """Entities above what the UIDs name, each once."""
    table, alias = ("instance", "i") if key is Key.SOP_INSTANCE_UID else ("series", "s")
    of_series = level is Level.SERIES
    wanted, source, holder = (
        ("series_id", "series s JOIN study t ON t.id = s.study_id", "s") if of_series else ("study_id", "study t", "t")
    )
    inner = f"SELECT {alias}.{wanted} FROM {table} {alias} WHERE {alias}.institution_id = ? AND {named.sql}"
    within = Condition(f"{holder}.id IN ({inner})", (institution, *named.parameters))
    return Drive(source, holder, ARRIVAL[level], (within,), sorts=True)


def _of_studies(expression: str, level: Level) -> Drive:
    source = f"study_text x CROSS JOIN study t ON t.id = x.rowid{BELOW_STUDY[level]}"
    # Below a study rows come as the loops bring them: asked for more than the studies' order, SQLite would sort.
    matched = Condition("x.study_text MATCH ?", (expression,))
    below = ARRIVAL[level][1:]
    return Drive(source, "t", ("x.rowid",), (matched,), "study_text x", matched, is_of_institution=False, then=below)


def _of_series(expression: str, level: Level) -> Drive:
    start = "series_text y"
    matched = Condition("y.series_text MATCH ?", (expression,))
    if level.depth >= Level.SERIES.depth:
        source = f"{start} CROSS JOIN series s ON s.id = y.rowid CROSS JOIN study t ON t.id = s.study_id"
        below = ARRIVAL[level][2:]
        return Drive(
            source + BELOW_SERIES[level],
            "s",
            ("y.rowid",),
            (matched,),
            start,
            matched,
            is_of_institution=False,
            then=below,
        )
    within = Condition(
        f"t.id IN (SELECT m.study_id FROM {start} CROSS JOIN series m ON m.id = y.rowid WHERE {matched.sql})",
        matched.parameters,
    )
    return Drive("study t", "t", ARRIVAL[level], (within,), start, matched, is_of_institution=False, sorts=True)
