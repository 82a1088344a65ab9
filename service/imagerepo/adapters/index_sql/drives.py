"""The ways into the tables: where a query's rows can come from, in which order, by which index.

A way by an index gives rows in the order in which they are answered, so that a page costs a page however many rows
match; the exception sorts, and is taken only where it is known to be short. Patients are found by way of their
studies: see search.py.
"""

from dataclasses import dataclass

from imagerepo.adapters.index_sql.conditions import Condition
from imagerepo.adapters.index_sql.dialect import Dialect, Drive
from imagerepo.adapters.index_sql.loops import ARRIVAL, BELOW_SERIES, BELOW_STUDY
from imagerepo.adapters.index_sql.matching import column, condition, is_bounded, is_one_value
from imagerepo.model.query import Key, Level, Match, Query

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


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked for, and of whom."""

    level: Level
    institution: int  # its key
    dialect: Dialect


def by_uid(query: Query, institution: int, dialect: Dialect) -> Drive | None:
    """The way of a query that names what it wants, if it does; there is none better."""
    matches = dict(query.matches)
    key = next((key for key in _UIDS if key in matches), None)
    if key is None:
        return None
    return dialect.by_uid(key, matches[key], query.level, institution)


def candidates(query: Query, institution: int, dialect: Dialect) -> list[Drive]:
    """The ways that an index serves, probably short ones first."""
    asked = Asked(query.level, institution, dialect)
    matches = {key: match for key, match in query.matches if is_bounded(key, match)}
    ways = [
        *[_by_study_key(key, index, matches[key], asked) for key, index in _STUDIES.items() if key in matches],
        dialect.by_trigrams_of_studies(query, institution),
        *[_by_series_key(key, index, matches[key], asked) for key, index in _SERIES.items() if key in matches],
        dialect.by_trigrams_of_series(query, institution),
    ]
    in_study = matches.get(Key.MODALITIES_IN_STUDY)
    if in_study is not None:
        ways.append(_by_first_series(Key.MODALITY, "series_by_modality", in_study, asked))
    return [way for way in ways if way is not None]


def _by_study_key(key: Key, index: str, match: Match, asked: Asked) -> Drive | None:
    dialect, level = asked.dialect, asked.level
    order = dialect.order(key, match, column(key), ARRIVAL[level])
    if order is None:
        return dialect.gathered(key, match, Level.STUDY, level, asked.institution)
    start = f"study t INDEXED BY {index}"
    return Drive(start + BELOW_STUDY[level], "t", order, (), start, condition(key, match, dialect))


def _by_series_key(key: Key, index: str, match: Match, asked: Asked) -> Drive | None:
    dialect, level = asked.dialect, asked.level
    if level.depth < Level.SERIES.depth:
        return _by_first_series(key, index, match, asked)
    order = dialect.order(key, match, column(key), ("s.study_id", *ARRIVAL[level][1:]))
    if order is None:
        return dialect.gathered(key, match, Level.SERIES, level, asked.institution)
    start = f"series s INDEXED BY {index}"
    source = f"{start} CROSS JOIN study t ON t.id = s.study_id{BELOW_SERIES[level]}"
    return Drive(source, "s", order, (), start, condition(key, match, dialect))


def _by_first_series(key: Key, index: str, match: Match, asked: Asked) -> Drive | None:
    """Studies by way of the first of their series that has what is asked."""
    dialect, level = asked.dialect, asked.level
    sorts = not is_one_value(key, match)
    gathered = dialect.gathered(key, match, Level.STUDY, level, asked.institution) if sorts else None
    if gathered is not None:
        return gathered
    has, earlier = (condition(key, match, dialect, alias) for alias in "mn")
    before = f"series n INDEXED BY series_by_study WHERE n.study_id = m.study_id AND n.id < m.id AND {earlier.sql}"
    first = Condition(f"NOT {dialect.exists(before)}", earlier.parameters)
    start = f"series m INDEXED BY {index}"
    arrival = ("m.study_id", "m.id", *ARRIVAL[level][1:])
    order = arrival if sorts else dialect.order(key, match, column(key, "m"), arrival)
    source = f"{start} CROSS JOIN study t ON t.id = m.study_id{BELOW_STUDY[level]}"
    return Drive(source, "m", order or arrival, (has, first), start, has, sorts=sorts)
