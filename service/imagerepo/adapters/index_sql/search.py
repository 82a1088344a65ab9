"""A query to SQL: one index drives it and gives the order; the other matches filter what it yields."""

from collections.abc import Iterator
from dataclasses import dataclass

from imagerepo.adapters.index_sql.rows import INSTANCE_COLUMNS, SERIES_COLUMNS, STUDY_COLUMNS, fold, fold_name
from imagerepo.model.query import Between, Equals, Key, Level, Match, OneOf, Query, Wildcard

# Key -> table alias and column; names and descriptions are searched case folded.
_COLUMNS = {
    Key.STUDY_DATE: "t.study_date",
    Key.STUDY_TIME: "t.study_time",
    Key.ACCESSION_NUMBER: "t.accession_number",
    Key.REFERRING_PHYSICIAN_NAME: "t.referring_physician_name_key",
    Key.STUDY_DESCRIPTION: "t.study_description_key",
    Key.PATIENT_NAME: "t.patient_name_key",
    Key.PATIENT_ID: "t.patient_id",
    Key.ISSUER_OF_PATIENT_ID: "t.issuer_of_patient_id",
    Key.PATIENT_BIRTH_DATE: "t.patient_birth_date",
    Key.PATIENT_SEX: "t.patient_sex",
    Key.STUDY_INSTANCE_UID: "t.uid",
    Key.STUDY_ID: "t.study_id",
    Key.MODALITY: "s.modality",
    Key.SERIES_DESCRIPTION: "s.series_description_key",
    Key.SERIES_INSTANCE_UID: "s.uid",
    Key.SERIES_NUMBER: "s.series_number",
    Key.BODY_PART_EXAMINED: "s.body_part",
    Key.PERFORMED_STEP_START_DATE: "s.performed_step_date",
    Key.PERFORMED_STEP_START_TIME: "s.performed_step_time",
    Key.SOP_CLASS_UID: "i.sop_class_uid",
    Key.SOP_INSTANCE_UID: "i.uid",
    Key.INSTANCE_NUMBER: "i.instance_number",
}
_FOLDED = {Key.STUDY_DESCRIPTION: fold, Key.SERIES_DESCRIPTION: fold}
_NAMES = {Key.PATIENT_NAME, Key.REFERRING_PHYSICIAN_NAME}

# What has trigrams, and under which name.
_TRIGRAMS = {
    Key.PATIENT_NAME: "patient_name",
    Key.PATIENT_ID: "patient_id",
    Key.STUDY_DESCRIPTION: "study_description",
    Key.ACCESSION_NUMBER: "accession_number",
    Key.REFERRING_PHYSICIAN_NAME: "referring_physician_name",
}
_TRIGRAM = 3

# The indexes that can drive a query, best first. A match that is one value, or begins with one, drives; the rows then
# come in the index's order, so that a page costs a page, however many rows match.
_DRIVERS = {
    Key.SOP_INSTANCE_UID: "",
    Key.SERIES_INSTANCE_UID: "",
    Key.STUDY_INSTANCE_UID: "",
    Key.ACCESSION_NUMBER: "study_by_accession",
    Key.PATIENT_ID: "study_by_patient_id",
    Key.PATIENT_NAME: "study_by_patient_name",
    Key.STUDY_ID: "study_by_study_id",
    Key.REFERRING_PHYSICIAN_NAME: "study_by_referring",
    Key.PATIENT_BIRTH_DATE: "study_by_birth_date",
    Key.STUDY_DATE: "study_by_date",
}


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
# CROSS JOIN fixes the order of the loops (SQLite).
_BELOW = {
    Level.STUDY: "",
    Level.SERIES: " CROSS JOIN series s ON s.study_id = t.id",
    Level.INSTANCE: (
        " CROSS JOIN series s ON s.study_id = t.id CROSS JOIN instance i ON i.study_id = t.id AND i.series_id = s.id "
        "CROSS JOIN version v ON v.instance_id = i.id AND v.number = i.current"
    ),
}
_BY_UID = {
    Level.SERIES: "series s JOIN study t ON t.id = s.study_id",
    Level.INSTANCE: (
        "instance i JOIN series s ON s.id = i.series_id JOIN study t ON t.id = s.study_id "
        "JOIN version v ON v.instance_id = i.id AND v.number = i.current"
    ),
}
_INSTANCES_BELOW = (
    " JOIN instance i ON i.study_id = s.study_id AND i.series_id = s.id "
    "JOIN version v ON v.instance_id = i.id AND v.number = i.current"
)
_NEWEST = {
    Level.STUDY: "t.id DESC",
    Level.SERIES: "t.id DESC, s.id DESC",
    Level.INSTANCE: "t.id DESC, s.id DESC, i.id DESC",
}


@dataclass(frozen=True, slots=True)
class _Drive:
    """Where a query's rows come from, and in which order."""

    source: str
    holder: str  # alias of the table whose institution is compared
    order: str
    condition: str = ""
    parameters: tuple[str | int, ...] = ()


def statement(query: Query, institution: int) -> Statement:
    """The statement whose rows are a study's, then a series', then an instance's columns, as deep as the level."""
    drive = _drive(query)
    conditions = [f"{drive.holder}.institution_id = ?"]
    parameters: list[str | int] = [institution]
    if drive.condition:
        conditions.append(drive.condition)
        parameters.extend(drive.parameters)
    for key, match in query.matches:
        for condition, values in _conditions(key, match, query.level):
            conditions.append(condition)
            parameters.extend(values)
    columns = ", ".join(_COLUMNS_OF[level] for level in _levels(query.level))
    where = " AND ".join(conditions)
    sql = f"SELECT {columns} FROM {drive.source} WHERE {where} ORDER BY {drive.order} LIMIT ? OFFSET ?"
    return Statement(sql, (*parameters, query.limit, query.offset))


def _drive(query: Query) -> _Drive:
    level, newest, below = query.level, _NEWEST[query.level], _BELOW[query.level]
    matches = dict(query.matches)
    key = next((key for key in _DRIVERS if key in matches and _indexed(matches[key])), None)
    if key is not None and key.level is not Level.STUDY:
        source = _BY_UID[key.level] + (_INSTANCES_BELOW if key.level is not level else "")
        return _Drive(source, "i" if key.level is Level.INSTANCE else "s", newest)
    if key is Key.STUDY_INSTANCE_UID:
        return _Drive(f"study t{below}", "t", newest)
    if key is not None:
        column, index = _COLUMNS[key], _DRIVERS[key]
        # Several values come in the index's order, the latest dates first; one value leaves the order of arrival.
        order = newest if isinstance(matches[key], Equals) else f"{column} DESC, {newest}"
        return _Drive(f"study t INDEXED BY {index}{below}", "t", order)
    trigrams = [expression for key, match in query.matches if (expression := _trigram(key, match))]
    if trigrams:
        source = f"study_text x CROSS JOIN study t ON t.id = x.rowid{below}"
        order = newest.replace("t.id", "x.rowid")
        return _Drive(source, "t", order, "x.study_text MATCH ?", (" AND ".join(trigrams),))
    if Key.MODALITY in matches and level is not Level.STUDY and isinstance(matches[Key.MODALITY], Equals):
        source = "series s INDEXED BY series_by_modality CROSS JOIN study t ON t.id = s.study_id"
        return _Drive(
            source + (_INSTANCES_BELOW if level is Level.INSTANCE else ""), "s", newest.removeprefix("t.id DESC, ")
        )
    return _Drive(f"study t INDEXED BY study_by_institution{below}", "t", newest)


def _levels(level: Level) -> tuple[Level, ...]:
    order = (Level.STUDY, Level.SERIES, Level.INSTANCE)
    return order[: order.index(level) + 1]


def _indexed(match: Match) -> bool:
    return not isinstance(match, Wildcard) or bool(_prefix(match.pattern))


def _prefix(pattern: str) -> str:
    end = min((pattern.find(mark) for mark in "*?" if mark in pattern), default=len(pattern))
    return pattern[:end]


def _folded(key: Key, text: str) -> str:
    if key in _NAMES:
        return fold_name(text)
    return _FOLDED[key](text) if key in _FOLDED else text


def _conditions(key: Key, match: Match, level: Level) -> Iterator[tuple[str, tuple[str | int, ...]]]:
    if key is Key.MODALITIES_IN_STUDY or (key is Key.MODALITY and level is Level.STUDY):
        yield _modalities(match)
        return
    column = _COLUMNS[key]
    match match:
        case Equals(value):
            yield f"{column} = ?", (_folded(key, value),)
        case OneOf(values):
            yield f"{column} IN ({', '.join('?' * len(values))})", values
        case Between(low, high):
            # An absent value is in no range. 'ffff' sorts after every digit, and takes in longer times.
            yield f"{column} >= ?", (low or "0",)
            if high:
                yield f"{column} <= ?", (high + "\uffff",)
        case Wildcard(pattern):
            folded = _folded_pattern(key, pattern)
            prefix = _prefix(folded)
            if prefix:
                yield f"{column} >= ? AND {column} < ?", (prefix, prefix + "\U0010ffff")
            yield f"{column} GLOB ?", (folded.replace("[", "[[]"),)


def _folded_pattern(key: Key, pattern: str) -> str:
    if key in _NAMES:
        return pattern.casefold()
    return _folded(key, pattern)


def _modalities(match: Match) -> tuple[str, tuple[str | int, ...]]:
    """A study matches if one of its modalities does; a pattern must not reach over from one to the next."""
    if isinstance(match, Wildcard):
        pattern = match.pattern.replace("[", "[[]")
        return "EXISTS (SELECT 1 FROM series m WHERE m.study_id = t.id AND m.modality GLOB ?)", (pattern,)
    values = match.values if isinstance(match, OneOf) else (match.value if isinstance(match, Equals) else "",)
    one = "instr('\\' || t.modalities || '\\', ?) > 0"
    return "(" + " OR ".join([one] * len(values)) + ")", tuple(f"\\{value}\\" for value in values)


def _trigram(key: Key, match: Match) -> str | None:
    """An FTS5 expression that every value matching the pattern satisfies, or None."""
    if key not in _TRIGRAMS or not isinstance(match, Wildcard):
        return None
    literals = [
        # The text is case folded for all keys: GLOB looks at the case where it counts.
        part
        for part in match.pattern.casefold().replace("?", "*").split("*")
        if len(part) >= _TRIGRAM
    ]
    if not literals:
        return None
    quoted = " AND ".join('"' + part.replace('"', '""') + '"' for part in literals)
    return f"{_TRIGRAMS[key]} : ({quoted})"
