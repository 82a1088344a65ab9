"""The ways into the tables: where a query's rows can come from, in which order, by which index.

A way by an index gives rows in the order in which they are answered, so that a page costs a page however many rows
match; the exception sorts, and is taken only where it is known to be short.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagerepo.adapters.index_sql.matching import COLUMNS, Condition, condition, prefix, trigram
from imagerepo.model.query import Equals, Key, Level, Match, Query, Wildcard

_ALL = Condition("1", ())


@dataclass(frozen=True, slots=True)
class Drive:
    """Where rows come from."""

    source: str
    holder: str  # alias of the table whose institution is compared
    order: str
    conditions: tuple[Condition, ...] = ()  # besides those of the query
    start: str = ""  # the part of the source that this way begins from
    begins: Condition = _ALL  # which rows of it
    is_of_institution: bool = True  # whether that part knows institutions
    sorts: bool = False  # its rows do not come in order


# Study keys and their indexes, those first that lead to few studies.
_STUDIES = {
    Key.ACCESSION_NUMBER: "study_by_accession",
    Key.PATIENT_ID: "study_by_patient_id",
    Key.PATIENT_NAME: "study_by_patient_name",
    Key.STUDY_ID: "study_by_study_id",
    Key.PATIENT_BIRTH_DATE: "study_by_birth_date",
    Key.REFERRING_PHYSICIAN_NAME: "study_by_referring",
    Key.STUDY_DESCRIPTION: "study_by_description",
    Key.STUDY_DATE: "study_by_date",
    Key.STUDY_TIME: "study_by_time",
    Key.ISSUER_OF_PATIENT_ID: "study_by_issuer",
    Key.PATIENT_SEX: "study_by_sex",
}
_SERIES = {
    Key.SERIES_DESCRIPTION: "series_by_description",
    Key.PERFORMED_STEP_START_DATE: "series_by_step_date",
    Key.BODY_PART_EXAMINED: "series_by_body_part",
    Key.MODALITY: "series_by_modality",
}
_UIDS = (Key.SOP_INSTANCE_UID, Key.SERIES_INSTANCE_UID, Key.STUDY_INSTANCE_UID)

# CROSS JOIN fixes the order of the loops (SQLite).
_INSTANCES_OF_SERIES = (
    " CROSS JOIN instance i ON i.study_id = s.study_id AND i.series_id = s.id "
    "CROSS JOIN version v ON v.instance_id = i.id AND v.number = i.current"
)
_BELOW_STUDY = {
    Level.STUDY: "",
    Level.SERIES: " CROSS JOIN series s ON s.study_id = t.id",
    Level.INSTANCE: " CROSS JOIN series s ON s.study_id = t.id" + _INSTANCES_OF_SERIES,
}
_BELOW_SERIES = {Level.SERIES: "", Level.INSTANCE: _INSTANCES_OF_SERIES}
_BY_INSTANCE_UID = (
    "instance i JOIN series s ON s.id = i.series_id JOIN study t ON t.id = s.study_id "
    "JOIN version v ON v.instance_id = i.id AND v.number = i.current"
)
_BY_SERIES_UID = "series s INDEXED BY series_by_uid CROSS JOIN study t ON t.id = s.study_id"
_NEWEST = {
    Level.STUDY: "t.id DESC",
    Level.SERIES: "t.id DESC, s.id DESC",
    Level.INSTANCE: "t.id DESC, s.id DESC, i.id DESC",
}


def by_uid(query: Query) -> Drive | None:
    """The way of a query that names what it wants, if it does; there is none better."""
    matches = dict(query.matches)
    key = next((key for key in _UIDS if key in matches), None)
    if key is None:
        return None
    if key is Key.SOP_INSTANCE_UID:
        return Drive(_BY_INSTANCE_UID, "i", _NEWEST[query.level])
    if key is Key.SERIES_INSTANCE_UID:
        order = _NEWEST[query.level].removeprefix("t.id DESC, ")
        return Drive(_BY_SERIES_UID + _BELOW_SERIES[query.level], "s", order)
    return Drive(f"study t{_BELOW_STUDY[query.level]}", "t", _NEWEST[query.level])


def candidates(query: Query) -> Iterator[Drive]:
    """The ways that an index serves, probably short ones first."""
    matches = dict(query.matches)
    for key, index in _STUDIES.items():
        if key in matches and _is_indexed(matches[key]):
            yield _by_study_key(key, index, matches[key], query.level)
    trigrams = [expression for key, match in query.matches if (expression := trigram(key, match))]
    if trigrams:
        yield _by_trigrams(" AND ".join(trigrams), query.level)
    if query.level is not Level.STUDY:
        for key, index in _SERIES.items():
            if key in matches and _is_indexed(matches[key]):
                yield _by_series_key(key, index, matches[key], query.level)
    yield from _by_modalities_in_study(matches, query.level)


def newest(level: Level) -> Drive:
    """All of an institution, newest first."""
    return Drive(f"study t INDEXED BY study_by_institution{_BELOW_STUDY[level]}", "t", _NEWEST[level])


def _is_indexed(match: Match) -> bool:
    return not isinstance(match, Wildcard) or bool(prefix(match.pattern))


def _by_study_key(key: Key, index: str, match: Match, level: Level) -> Drive:
    column, start = COLUMNS[key], f"study t INDEXED BY {index}"
    # Several values come in the index's order, the latest dates first; one value leaves the order of arrival.
    order = _NEWEST[level] if isinstance(match, Equals) else f"{column} DESC, {_NEWEST[level]}"
    return Drive(start + _BELOW_STUDY[level], "t", order, (), start, condition(column, key, match))


def _by_series_key(key: Key, index: str, match: Match, level: Level) -> Drive:
    column, start = COLUMNS[key], f"series s INDEXED BY {index}"
    arrival = _NEWEST[level].replace("t.id", "s.study_id")
    order = arrival if isinstance(match, Equals) else f"{column} DESC, {arrival}"
    source = f"{start} CROSS JOIN study t ON t.id = s.study_id{_BELOW_SERIES[level]}"
    return Drive(source, "s", order, (), start, condition(column, key, match))


def _by_trigrams(expression: str, level: Level) -> Drive:
    source = f"study_text x CROSS JOIN study t ON t.id = x.rowid{_BELOW_STUDY[level]}"
    # Below a study rows come as the loops bring them: asked for more than the studies' order, SQLite would sort.
    order = "x.rowid DESC"
    matched = Condition("x.study_text MATCH ?", (expression,))
    return Drive(source, "t", order, (matched,), "study_text x", matched, is_of_institution=False)


def _by_modalities_in_study(matches: Mapping[Key, Match], level: Level) -> Iterator[Drive]:
    """Studies by way of the first of their series that has the modality."""
    asked = [matches[key] for key in _of_any_series(level) if key in matches and _is_indexed(matches[key])]
    if not asked:
        return
    match = asked[0]
    has, earlier = (condition(f"{alias}.modality", Key.MODALITY, match) for alias in "mn")
    first = Condition(
        "NOT EXISTS (SELECT 1 FROM series n WHERE n.institution_id = m.institution_id AND n.study_id = m.study_id "
        f"AND n.id < m.id AND {earlier.sql})",
        earlier.parameters,
    )
    start = "series m INDEXED BY series_by_modality"
    yield Drive(
        f"{start} CROSS JOIN study t ON t.id = m.study_id{_BELOW_STUDY[level]}",
        "m",
        _NEWEST[level].replace("t.id DESC", "m.study_id DESC, m.id DESC"),
        (has, first),
        start,
        has,
        sorts=not isinstance(match, Equals),
    )


def _of_any_series(level: Level) -> tuple[Key, ...]:
    return (Key.MODALITIES_IN_STUDY, Key.MODALITY) if level is Level.STUDY else (Key.MODALITIES_IN_STUDY,)
