"""The ways into the tables: where a query's rows can come from, in which order, by which index.

A way by an index gives rows in the order in which they are answered, so that a page costs a page however many rows
match; the exception sorts, and is taken only where it is known to be short. Patients are found by way of their
studies: see search.py.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from imagerepo.adapters.index_sql.matching import Condition, column, condition, is_bounded, is_one_value, trigram
from imagerepo.model.query import Key, Level, Match, Query

_ALL = Condition("1")


@dataclass(frozen=True, slots=True)
class Drive:
    """Where rows come from."""

    source: str
    holder: str  # alias of the table whose institution is compared
    descending: tuple[str, ...]  # columns by which rows are ordered, the last first
    conditions: tuple[Condition, ...] = ()  # besides those of the query
    start: str = ""  # the part of the source that this way begins from
    begins: Condition = _ALL  # which rows of it
    is_of_institution: bool = True  # whether that part knows institutions
    sorts: bool = False  # its rows do not come in order
    then: tuple[str, ...] = ()  # columns in whose order rows come by themselves below those, the first first


# Keys of studies and their indexes, those first that lead to few studies.
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
    " CROSS JOIN instance i INDEXED BY instance_by_series ON i.study_id = s.study_id AND i.series_id = s.id "
    "CROSS JOIN version v ON v.instance_id = i.id AND v.number = i.current"
)
_SERIES_OF_STUDY = " CROSS JOIN series s INDEXED BY series_by_study ON s.study_id = t.id"
_BELOW_STUDY = {
    Level.PATIENT: "",
    Level.STUDY: "",
    Level.SERIES: _SERIES_OF_STUDY,
    Level.INSTANCE: _SERIES_OF_STUDY + _INSTANCES_OF_SERIES,
}
_BELOW_SERIES = {Level.SERIES: "", Level.INSTANCE: _INSTANCES_OF_SERIES}
_BY_INSTANCE_UID = (
    "instance i JOIN series s ON s.id = i.series_id JOIN study t ON t.id = s.study_id "
    "JOIN version v ON v.instance_id = i.id AND v.number = i.current"
)
_BY_SERIES_UID = "series s INDEXED BY series_by_uid CROSS JOIN study t ON t.id = s.study_id"
_NEWEST = {
    Level.PATIENT: ("t.id",),
    Level.STUDY: ("t.id",),
    Level.SERIES: ("t.id", "s.id"),
    Level.INSTANCE: ("t.id", "s.id", "i.id"),
}


def by_uid(query: Query, institution: int) -> Drive | None:
    """The way of a query that names what it wants, if it does; there is none better."""
    matches = dict(query.matches)
    key = next((key for key in _UIDS if key in matches), None)
    if key is None:
        return None
    level = query.level
    if key.level.depth > max(level.depth, Level.STUDY.depth):
        return _above_uid(key, matches[key], level, institution)
    if key is Key.SOP_INSTANCE_UID:
        return Drive(_BY_INSTANCE_UID, "i", _NEWEST[level])
    if key is Key.SERIES_INSTANCE_UID:
        return Drive(_BY_SERIES_UID + _BELOW_SERIES[level], "s", _NEWEST[level][1:])
    return Drive(f"study t{_BELOW_STUDY[level]}", "t", _NEWEST[level])


def candidates(query: Query) -> Iterator[Drive]:
    """The ways that an index serves, probably short ones first."""
    matches = dict(query.matches)
    for key, index in _STUDIES.items():
        if key in matches and is_bounded(key, matches[key]):
            yield _by_study_key(key, index, matches[key], query.level)
    trigrams = [(key.level, expression) for key, match in query.matches if (expression := trigram(key, match))]
    of_studies = [expression for level, expression in trigrams if level.depth <= Level.STUDY.depth]
    if of_studies:
        yield _by_trigrams(" AND ".join(of_studies), query.level)
    for key, index in _SERIES.items():
        if key in matches and is_bounded(key, matches[key]):
            yield _by_series_key(key, index, matches[key], query.level)
    for level, expression in trigrams:
        if level is Level.SERIES:
            yield _by_trigrams_of_series(expression, query.level)
    yield from _by_modalities_in_study(matches, query.level)


def newest(level: Level) -> Drive:
    """All of an institution, newest first."""
    return Drive(f"study t INDEXED BY study_by_institution{_BELOW_STUDY[level]}", "t", _NEWEST[level])


def _above_uid(key: Key, match: Match, level: Level, institution: int) -> Drive:
    """Entities above what the UIDs name, each once."""
    named = condition(key, match)
    table, alias = ("instance", "i") if key is Key.SOP_INSTANCE_UID else ("series", "s")
    of_series = level is Level.SERIES
    wanted, source, holder = (
        ("series_id", "series s JOIN study t ON t.id = s.study_id", "s") if of_series else ("study_id", "study t", "t")
    )
    inner = f"SELECT {alias}.{wanted} FROM {table} {alias} WHERE {alias}.institution_id = ? AND {named.sql}"
    within = Condition(f"{holder}.id IN ({inner})", (institution, *named.parameters))
    return Drive(source, holder, _NEWEST[level], (within,), sorts=True)


def _by_study_key(key: Key, index: str, match: Match, level: Level) -> Drive:
    start = f"study t INDEXED BY {index}"
    # Several values come in the index's order, the latest dates first; one value leaves the order of arrival.
    order = _NEWEST[level] if is_one_value(key, match) else (column(key), *_NEWEST[level])
    return Drive(start + _BELOW_STUDY[level], "t", order, (), start, condition(key, match))


def _by_series_key(key: Key, index: str, match: Match, level: Level) -> Drive:
    if level.depth < Level.SERIES.depth:
        return _by_first_series(key, index, match, level)
    start = f"series s INDEXED BY {index}"
    arrival = ("s.study_id", *_NEWEST[level][1:])
    order = arrival if is_one_value(key, match) else (column(key), *arrival)
    source = f"{start} CROSS JOIN study t ON t.id = s.study_id{_BELOW_SERIES[level]}"
    return Drive(source, "s", order, (), start, condition(key, match))


def _by_trigrams(expression: str, level: Level) -> Drive:
    source = f"study_text x CROSS JOIN study t ON t.id = x.rowid{_BELOW_STUDY[level]}"
    # Below a study rows come as the loops bring them: asked for more than the studies' order, SQLite would sort.
    matched = Condition("x.study_text MATCH ?", (expression,))
    below = _NEWEST[level][1:]
    return Drive(source, "t", ("x.rowid",), (matched,), "study_text x", matched, is_of_institution=False, then=below)


def _by_trigrams_of_series(expression: str, level: Level) -> Drive:
    start = "series_text y"
    matched = Condition("y.series_text MATCH ?", (expression,))
    if level.depth >= Level.SERIES.depth:
        source = f"{start} CROSS JOIN series s ON s.id = y.rowid CROSS JOIN study t ON t.id = s.study_id"
        below = _NEWEST[level][2:]
        return Drive(
            source + _BELOW_SERIES[level],
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
    return Drive("study t", "t", _NEWEST[level], (within,), start, matched, is_of_institution=False, sorts=True)


def _by_modalities_in_study(matches: Mapping[Key, Match], level: Level) -> Iterator[Drive]:
    match = matches.get(Key.MODALITIES_IN_STUDY)
    if match is not None and is_bounded(Key.MODALITY, match):
        yield _by_first_series(Key.MODALITY, "series_by_modality", match, level)


def _by_first_series(key: Key, index: str, match: Match, level: Level) -> Drive:
    """Studies by way of the first of their series that has what is asked."""
    has, earlier = (condition(key, match, alias) for alias in "mn")
    first = Condition(
        "NOT EXISTS (SELECT 1 FROM series n INDEXED BY series_by_study WHERE n.study_id = m.study_id "
        f"AND n.id < m.id AND {earlier.sql})",
        earlier.parameters,
    )
    start = f"series m INDEXED BY {index}"
    return Drive(
        f"{start} CROSS JOIN study t ON t.id = m.study_id{_BELOW_STUDY[level]}",
        "m",
        ("m.study_id", "m.id", *_NEWEST[level][1:]),
        (has, first),
        start,
        has,
        sorts=not is_one_value(key, match),
    )
