"""Search in memory: looks at everything, the shortest way to what each match means."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from imagerepo.adapters.index_sql.rows import patient_of
from imagerepo.dicom import names
from imagerepo.dicom.names import fold_name
from imagerepo.model.instance import Attributes, Version
from imagerepo.model.query import (
    TIME_OF,
    Between,
    BetweenMoments,
    Equals,
    Found,
    Fuzzy,
    InstanceRow,
    Key,
    Level,
    Match,
    OneOf,
    PatientRow,
    Query,
    SeriesRow,
    StudyRow,
    Wildcard,
)


@dataclass(slots=True)
class StoredInstance:
    """An instance and all its versions."""

    position: int  # counts the first versions, from 1
    versions: list[tuple[Version, Attributes]]

    @property
    def current(self) -> tuple[Version, Attributes]:
        """The latest version."""
        return self.versions[-1]

    @property
    def attributes(self) -> Attributes:
        """Of the latest version."""
        return self.current[1]


Members = Sequence[StoredInstance]

# Where a key's value stands in Attributes, if not under its own name in lower case.
_FIELD = {
    Key.STUDY_INSTANCE_UID: "study_uid",
    Key.SERIES_INSTANCE_UID: "series_uid",
    Key.SOP_INSTANCE_UID: "instance_uid",
    Key.BODY_PART_EXAMINED: "body_part",
    Key.PERFORMED_STEP_START_DATE: "performed_step_date",
    Key.PERFORMED_STEP_START_TIME: "performed_step_time",
    Key.MODALITIES_IN_STUDY: "modality",
}
_FOLDED = frozenset({Key.STUDY_DESCRIPTION, Key.SERIES_DESCRIPTION})


def search(instances: Members, query: Query) -> list[Found]:
    """One row for each entity of the query's level, the latest first; a study or series is described by its first."""
    studies = [
        study
        for study in _grouped(instances, lambda one: one.study_uid)
        if _matches(query, Level.STUDY, study) and _holds_below(query, study)
    ]
    if query.level is Level.PATIENT:
        patients = _grouped((study[0] for study in studies), _patient)
        return _latest((first.position, _patient_found(first, instances, studies)) for first, *_ in patients)
    if query.level is Level.STUDY:
        return _latest((study[0].position, Found(_study_row(study))) for study in studies)
    entities: list[tuple[int, Found]] = []
    for study in studies:
        row = _study_row(study)
        for series in _series_of(study):
            if not _matches(query, Level.SERIES, series) or not _holds_below(query, series):
                continue
            found = Found(row, _series_row(series))
            if query.level is Level.SERIES:
                entities.append((series[0].position, found))
                continue
            entities += (
                (one.position, Found(row, found.series, _instance_row(one)))
                for one in series
                if _matches(query, Level.INSTANCE, [one])
            )
    return _latest(entities)


def patient_differs(instances: Iterable[StoredInstance]) -> bool:
    """Whether instances disagree about the patient."""
    return len({patient_of(one.attributes) for one in instances}) > 1


def _latest(entities: Iterable[tuple[int, Found]]) -> list[Found]:
    return [found for _, found in sorted(entities, key=lambda entity: entity[0], reverse=True)]


def _grouped(instances: Iterable[StoredInstance], by: Callable[[Attributes], object]) -> list[list[StoredInstance]]:
    groups: dict[object, list[StoredInstance]] = {}
    for one in instances:
        groups.setdefault(by(one.attributes), []).append(one)
    return list(groups.values())


def _series_of(study: Iterable[StoredInstance]) -> list[list[StoredInstance]]:
    return _grouped(study, lambda one: one.series_uid)


def _patient(one: Attributes) -> tuple[str, str]:
    return one.patient_id, one.issuer_of_patient_id


def _holds_below(query: Query, members: Members) -> bool:
    """Whether one of the entity's series, and one of its instances, has what is asked of deeper levels."""
    deeper = [key.level for key, _ in query.matches if key.level.depth > query.level.depth]
    if Level.SERIES not in deeper and Level.INSTANCE not in deeper:
        return True
    return any(
        (query.level is Level.SERIES or _matches(query, Level.SERIES, series))
        and (Level.INSTANCE not in deeper or any(_matches(query, Level.INSTANCE, [one]) for one in series))
        for series in _series_of(members)
    )


def _matches(query: Query, level: Level, members: Members) -> bool:
    """Whether what is asked of a level, of a patient what its studies say, holds of an entity."""
    for key, match in query.matches:
        if max(key.level.depth, Level.STUDY.depth) != level.depth:
            continue
        those = members if key is Key.MODALITIES_IN_STUDY else members[:1]
        if not any(_has(one.attributes, key, match) for one in those):
            return False
    return True


def _value(attributes: Attributes, key: Key) -> str:
    return str(getattr(attributes, _FIELD.get(key, key.name.lower())))


def _has(attributes: Attributes, key: Key, match: Match) -> bool:  # noqa: PLR0911 - one a kind
    value = _value(attributes, key)
    match match:
        case Equals(wanted) if key.vr != "PN":
            return _fold(key, value) == _fold(key, wanted)
        case Equals(wanted):
            return _is_like(fold_name(value), names.patterns(fold_name(wanted)))
        case OneOf(wanted):
            return value in wanted
        case Between(low, high):
            return _is_between(value, low, high)
        case BetweenMoments(low, high):
            time = _value(attributes, TIME_OF[key])
            within = _is_between(value, low[:8], high[:8])
            return within and (not time or _is_between(value + time, low, high))
        case Wildcard(pattern) if key.vr == "PN":
            return _is_like(fold_name(value), names.patterns(pattern))
        case Wildcard(pattern):
            return _is_like(_fold(key, value), [_fold(key, pattern).replace("[", "[[]")])
        case Fuzzy(name):
            return all(_is_like(fold_name(value), names.word_patterns(word)) for word in names.words(name))


def _is_between(value: str, low: str, high: str) -> bool:
    # An absent value is in no range; a time with more digits is within its shorter end.
    return bool(value) and value >= low and (not high or value[: len(high)] <= high)


def _is_like(folded: str, patterns: Iterable[str]) -> bool:
    return any(re.match(fnmatch.translate(one), folded) is not None for one in patterns)


def _fold(key: Key, text: str) -> str:
    return text.casefold() if key in _FOLDED else text


def _patient_found(first: StoredInstance, instances: Members, studies: Sequence[Members]) -> Found:
    """A patient as the first of its studies that match describes it."""
    one = first.attributes
    whole = [other for other in instances if _patient(other.attributes) == _patient(one)]
    row = PatientRow(
        one.patient_id,
        one.issuer_of_patient_id,
        one.patient_name,
        one.patient_birth_date,
        one.patient_sex,
        len(_grouped(whole, lambda other: other.study_uid)),
        len(_grouped(whole, lambda other: other.series_uid)),
        len(whole),
    )
    return Found(_study_row(next(study for study in studies if study[0] is first)), patient=row)


def _study_row(members: Members) -> StudyRow:
    one = members[0].attributes
    return StudyRow(
        uid=one.study_uid,
        patient_id=one.patient_id,
        issuer_of_patient_id=one.issuer_of_patient_id,
        patient_name=one.patient_name,
        patient_birth_date=one.patient_birth_date,
        patient_sex=one.patient_sex,
        date=one.study_date,
        time=one.study_time,
        study_id=one.study_id,
        description=one.study_description,
        accession_number=one.accession_number,
        referring_physician_name=one.referring_physician_name,
        timezone_offset=one.timezone_offset,
        modalities=tuple(sorted({one.modality for member in members for _, one in member.versions} - {""})),
        series_count=len({member.attributes.series_uid for member in members}),
        instance_count=len(members),
        patient_differs=patient_differs(members),
    )


def _series_row(members: Members) -> SeriesRow:
    one = members[0].attributes
    return SeriesRow(
        uid=one.series_uid,
        modality=one.modality,
        number=one.series_number,
        description=one.series_description,
        body_part=one.body_part,
        performed_step_date=one.performed_step_date,
        performed_step_time=one.performed_step_time,
        instance_count=len(members),
    )


def _instance_row(instance: StoredInstance) -> InstanceRow:
    version, one = instance.current
    return InstanceRow(
        uid=one.instance_uid,
        sop_class_uid=one.sop_class_uid,
        number=one.instance_number,
        rows=one.rows,
        columns=one.columns,
        bits_allocated=one.bits_allocated,
        number_of_frames=one.number_of_frames,
        transfer_syntax=version.transfer_syntax,
    )
