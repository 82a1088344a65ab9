"""Matches as conditions in SQL (PS3.4 section C.2.2.2)."""

import re

from imagerepo.adapters.index_sql.conditions import Condition, all_of
from imagerepo.adapters.index_sql.dialect import Dialect
from imagerepo.adapters.index_sql.rows import fold
from imagerepo.dicom import names
from imagerepo.dicom.names import fold_name
from imagerepo.model.query import (
    TIME_OF,
    Between,
    BetweenMoments,
    Equals,
    Fuzzy,
    Key,
    Level,
    Match,
    OneOf,
    Query,
    Wildcard,
)

# Key -> column of its table; names and descriptions are searched case folded.
_COLUMNS = {
    Key.STUDY_DATE: "study_date",
    Key.STUDY_TIME: "study_time",
    Key.ACCESSION_NUMBER: "accession_number",
    Key.REFERRING_PHYSICIAN_NAME: "referring_physician_name_key",
    Key.STUDY_DESCRIPTION: "study_description_key",
    Key.PATIENT_NAME: "patient_name_key",
    Key.PATIENT_ID: "patient_id",
    Key.ISSUER_OF_PATIENT_ID: "issuer_of_patient_id",
    Key.PATIENT_BIRTH_DATE: "patient_birth_date",
    Key.PATIENT_SEX: "patient_sex",
    Key.STUDY_INSTANCE_UID: "uid",
    Key.STUDY_ID: "study_id",
    Key.MODALITY: "modality",
    Key.SERIES_DESCRIPTION: "series_description_key",
    Key.SERIES_INSTANCE_UID: "uid",
    Key.SERIES_NUMBER: "series_number",
    Key.BODY_PART_EXAMINED: "body_part",
    Key.PERFORMED_STEP_START_DATE: "performed_step_date",
    Key.PERFORMED_STEP_START_TIME: "performed_step_time",
    Key.SOP_CLASS_UID: "sop_class_uid",
    Key.SOP_INSTANCE_UID: "uid",
    Key.INSTANCE_NUMBER: "instance_number",
}
_ALIASES = {Level.PATIENT: "t", Level.STUDY: "t", Level.SERIES: "s", Level.INSTANCE: "i"}
_FOLDED = {Key.STUDY_DESCRIPTION, Key.SERIES_DESCRIPTION}
_LAST = "\U0010ffff"  # sorts after whatever follows a text


def column(key: Key, alias: str | None = None) -> str:
    """Where a key's values are, in the table of its level unless another alias is given."""
    return f"{alias or _ALIASES[key.level]}.{_COLUMNS[key]}"


def prefix(pattern: str) -> str:
    """What every text that matches the pattern begins with."""
    end = min((pattern.find(mark) for mark in "*?[" if mark in pattern), default=len(pattern))
    return pattern[:end]


def is_one_value(key: Key, match: Match) -> bool:
    """Whether all that matches has the same value in the index."""
    return isinstance(match, Equals) and key.vr != "PN"


def is_bounded(key: Key, match: Match) -> bool:
    """Whether what matches lies together in an index of the key."""
    match match:
        case Wildcard(pattern):
            return bool(_common_prefix(key, pattern))
        case Equals(value):
            return key.vr != "PN" or bool(_common_prefix(key, value))
        case Fuzzy():
            return False
        case _:
            return True


def condition(  # noqa: PLR0911 - one a kind
    key: Key, match: Match, dialect: Dialect, alias: str | None = None
) -> Condition:
    """What `match` asks of the values of `key`."""
    at = column(key, alias)
    match match:
        case Equals(value):
            if key.vr == "UI":
                return dialect.is_named(at, (value,))
            if key.vr == "PN":
                return _globs(at, names.patterns(fold_name(value)), dialect)
            return dialect.equals(at, fold(value) if key in _FOLDED else value)
        case OneOf(values) if key.vr == "UI":
            return dialect.is_named(at, values)
        case OneOf(values):
            return Condition(f"{at} IN ({', '.join('?' * len(values))})", values)
        case Between(low, high):
            return _range(at, low, high)
        case BetweenMoments(low, high):
            return _moments(at, column(TIME_OF[key], alias), low, high)
        case Wildcard(pattern):
            return _globs(at, _patterns(key, pattern), dialect)
        case Fuzzy(name):
            return all_of(_globs(at, names.word_patterns(word), dialect) for word in names.words(name))


def of_entity(query: Query, dialect: Dialect, study: str = "t") -> list[Condition]:
    """What a query's matches ask of the rows of its level; `study`: another alias of the study, above series."""
    conditions: list[Condition] = []
    below: list[tuple[Key, Match]] = []
    for key, match in query.matches:
        if key is Key.MODALITIES_IN_STUDY:
            conditions.append(_modalities(match, dialect, study))
        elif key.level.depth > max(query.level, Level.STUDY, key=lambda one: one.depth).depth:
            below.append((key, match))
        else:
            conditions.append(condition(key, match, dialect, study if key.level.depth <= Level.STUDY.depth else None))
    return [*conditions, _any_below(query.level, below, dialect, study)] if below else conditions


def _any_below(level: Level, below: list[tuple[Key, Match]], dialect: Dialect, study: str) -> Condition:
    """One of an entity's series, or of its instances, has all that is asked of them."""
    inner = all_of(condition(key, match, dialect) for key, match in below)
    if level is Level.SERIES:
        source = "instance i WHERE i.study_id = s.study_id AND i.series_id = s.id"
    elif any(key.level is Level.INSTANCE for key, _ in below):
        source = (
            "series s CROSS JOIN instance i ON i.study_id = s.study_id AND i.series_id = s.id "
            f"WHERE s.study_id = {study}.id"
        )
    else:
        source = f"series s WHERE s.study_id = {study}.id"
    return Condition(dialect.exists(f"{source} AND {inner.sql}"), inner.parameters)


def _patterns(key: Key, pattern: str) -> tuple[str, ...]:
    if key.vr == "PN":
        return names.patterns(pattern)
    return ((fold(pattern) if key in _FOLDED else pattern).replace("[", "[[]"),)


def _common_prefix(key: Key, pattern: str) -> str:
    starts = [prefix(one) for one in _patterns(key, pattern)]
    return min(starts, key=len)


def _globs(at: str, patterns: tuple[str, ...], dialect: Dialect) -> Condition:
    one = _any_of([dialect.glob(at, pattern) for pattern in patterns])
    first, start = patterns[:1], min((prefix(pattern) for pattern in patterns), key=len)
    if not start:
        return one
    # No index is driven by a pattern that is a parameter: say where in it the matches lie. Behind a whole name come
    # only `=`.
    end = start + ("=" if first == (start,) else "") + _LAST
    return all_of([Condition(f"{at} >= ? AND {at} < ?", (start, end)), one])


def _range(at: str, low: str, high: str) -> Condition:
    # An absent value is in no range. 'ffff' sorts after every digit, and takes in longer times.
    if not high:
        return Condition(f"{at} >= ?", (low or "0",))
    return Condition(f"{at} >= ? AND {at} <= ?", (low or "0", high + "\uffff"))


def _moments(date: str, time: str, low: str, high: str) -> Condition:
    exact = [_range(f"{date} || {time}", low, high)] if low or high else []
    days = _range(date, low[:8], high[:8])
    return all_of([days, *(Condition(f"({time} = '' OR ({one.sql}))", one.parameters) for one in exact)])


def _any_of(conditions: list[Condition]) -> Condition:
    sql = " OR ".join(one.sql for one in conditions)
    values = tuple(value for one in conditions for value in one.parameters)
    return Condition(f"({sql})" if len(conditions) > 1 else sql, values)


def _modalities(match: Match, dialect: Dialect, study: str) -> Condition:
    """A study matches if one of its modalities does; a pattern must not reach over from one to the next."""
    if isinstance(match, Wildcard):
        one = dialect.glob("e.modality", match.pattern.replace("[", "[[]"))
        has_one = dialect.exists(f"series e WHERE e.study_id = {study}.id AND {one.sql}")
        return Condition(has_one, one.parameters)
    values = match.values if isinstance(match, OneOf) else (match.value if isinstance(match, Equals) else "",)
    known = f"'\\' || {study}.modalities || '\\'"
    return _any_of([dialect.contains(known, f"\\{value}\\") for value in values])


def literals(key: Key, match: Match) -> list[str]:
    """What every matching value has in it; case folded for all keys: GLOB looks at the case where it counts."""
    match match:
        case Wildcard(pattern):
            marks = "*?=" if key.vr == "PN" else "*?"
            return re.split(f"[{marks}]", pattern.casefold())
        case Equals(value) if key.vr == "PN":
            return fold_name(value).split("=")
        case Fuzzy(name):
            return list(names.words(name))
        case _:
            return []
