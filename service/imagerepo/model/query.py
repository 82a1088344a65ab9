"""What a search asks, whatever protocol it came by (PS3.4 C.2.2.2)."""

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import NamedTuple, TypeAlias

from imagerepo.model.header import Header
from imagerepo.model.uids import Uid

MOST_VALUES = 1000
"""Values in one list; what is more costs the index more than asking again."""


class Level(StrEnum):
    """The level whose entities are returned."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    INSTANCE = "instance"

    @property
    def depth(self) -> int:
        """Levels above it."""
        return _LEVELS.index(self)


_LEVELS = tuple(Level)


class Key(Enum):
    """Attributes that the index matches: (tag, VR, level the attribute belongs to)."""

    PATIENT_NAME = ("00100010", "PN", Level.PATIENT)
    PATIENT_ID = ("00100020", "LO", Level.PATIENT)
    ISSUER_OF_PATIENT_ID = ("00100021", "LO", Level.PATIENT)
    PATIENT_BIRTH_DATE = ("00100030", "DA", Level.PATIENT)
    PATIENT_SEX = ("00100040", "CS", Level.PATIENT)
    STUDY_DATE = ("00080020", "DA", Level.STUDY)
    STUDY_TIME = ("00080030", "TM", Level.STUDY)
    ACCESSION_NUMBER = ("00080050", "SH", Level.STUDY)
    MODALITIES_IN_STUDY = ("00080061", "CS", Level.STUDY)
    REFERRING_PHYSICIAN_NAME = ("00080090", "PN", Level.STUDY)
    STUDY_DESCRIPTION = ("00081030", "LO", Level.STUDY)
    STUDY_INSTANCE_UID = ("0020000D", "UI", Level.STUDY)
    STUDY_ID = ("00200010", "SH", Level.STUDY)
    MODALITY = ("00080060", "CS", Level.SERIES)
    SERIES_DESCRIPTION = ("0008103E", "LO", Level.SERIES)
    SERIES_INSTANCE_UID = ("0020000E", "UI", Level.SERIES)
    SERIES_NUMBER = ("00200011", "IS", Level.SERIES)
    BODY_PART_EXAMINED = ("00180015", "CS", Level.SERIES)
    PERFORMED_STEP_START_DATE = ("00400244", "DA", Level.SERIES)
    PERFORMED_STEP_START_TIME = ("00400245", "TM", Level.SERIES)
    SOP_CLASS_UID = ("00080016", "UI", Level.INSTANCE)
    SOP_INSTANCE_UID = ("00080018", "UI", Level.INSTANCE)
    INSTANCE_NUMBER = ("00200013", "IS", Level.INSTANCE)

    def __init__(self, tag: str, vr: str, level: Level) -> None:
        self.tag = tag
        self.vr = vr
        self.level = level


TIME_OF = {
    Key.STUDY_DATE: Key.STUDY_TIME,
    Key.PERFORMED_STEP_START_DATE: Key.PERFORMED_STEP_START_TIME,
}
"""Dates that can be matched together with their times."""


@dataclass(frozen=True, slots=True)
class Equals:
    """Single value matching (C.2.2.2.1); of names without regard to case, and of one component group if it is one."""

    value: str


@dataclass(frozen=True, slots=True)
class OneOf:
    """List of UID matching (C.2.2.2.2); at most MOST_VALUES, each once."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wildcard:
    """Wild card matching (C.2.2.2.4): `*` any run, `?` one character; names as in Equals."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Between:
    """Range matching (C.2.2.2.5), both ends included; '' is open."""

    low: str
    high: str


@dataclass(frozen=True, slots=True)
class BetweenMoments:
    """Range matching of a date and its time as one (C.2.2.2.5), asked of the date's key (one of TIME_OF).

    Both ends are included, YYYYMMDD with as much of HHMMSS.FFFFFF behind it as is known; '' is open. What has a date
    and no time matches wherever its date lies within those of the ends.
    """

    low: str
    high: str


def together(date: Between, time: Between) -> BetweenMoments:
    """A range of dates and one of times as one: from the first one's time to the last one's."""
    return BetweenMoments(date.low and date.low + time.low, date.high and date.high + time.high)


@dataclass(frozen=True, slots=True)
class Fuzzy:
    """Fuzzy semantic matching of a person name (C.2.2.2.1): each word begins one of the name's, in any order."""

    name: str


Match: TypeAlias = Equals | OneOf | Wildcard | Between | BetweenMoments | Fuzzy

Path: TypeAlias = tuple[str, ...]
"""Tags from the outermost sequence to the attribute: ("00400275", "00401001"); one tag: at the top level."""


@dataclass(frozen=True, slots=True)
class Query:
    """A search within one institution.

    Attributes of any level may be asked for at any other: of a deeper one it is enough that one of the entity's own
    has all that is asked of that level (relational queries, PS3.4 C.4.1.2.2.1); who wants hierarchical queries checks.
    """

    institution: str
    level: Level
    matches: tuple[tuple[Key, Match], ...]
    limit: int  # entities returned at the most; of `pages`: in all
    offset: int = 0  # entities passed over
    optional: tuple[tuple[Path, Match], ...] = ()
    """Matched in stored headers, those of an entity's first instance; keys in one sequence hold of one of its items
    (C.2.2.2.6)."""
    with_header: bool = False
    """Whether what is found comes with the header of its first instance."""


# Rows are made by the thousand: named tuples take a fifth of the time that frozen dataclasses do.


class PatientRow(NamedTuple):
    """A patient as the index has it: studies that share a Patient ID and its issuer."""

    patient_id: str
    issuer_of_patient_id: str
    name: str
    birth_date: str
    sex: str
    study_count: int
    series_count: int
    instance_count: int


class StudyRow(NamedTuple):
    """A study as the index has it; text as in model.instance.Attributes."""

    uid: Uid
    patient_id: str
    issuer_of_patient_id: str
    patient_name: str
    patient_birth_date: str
    patient_sex: str
    date: str
    time: str
    study_id: str
    description: str
    accession_number: str
    referring_physician_name: str
    timezone_offset: str
    modalities: tuple[str, ...]
    series_count: int
    instance_count: int
    patient_differs: bool  # instances disagree about the patient


class SeriesRow(NamedTuple):
    """A series as the index has it."""

    uid: Uid
    modality: str
    number: str
    description: str
    body_part: str
    performed_step_date: str
    performed_step_time: str
    instance_count: int


class InstanceRow(NamedTuple):
    """The current version of an instance as the index has it."""

    uid: Uid
    sop_class_uid: Uid
    number: str
    rows: int | None
    columns: int | None
    bits_allocated: int | None
    number_of_frames: int | None
    transfer_syntax: Uid


class Found(NamedTuple):
    """One entity found: its own row below those of its ancestors, as deep as the query's level.

    Of a patient `study` is the first of its studies that matched: whose name and birth date the patient has.
    """

    study: StudyRow
    series: SeriesRow | None = None
    instance: InstanceRow | None = None
    patient: PatientRow | None = None  # at the level of patients alone
    header: Header | None = None  # where the query wants it, unless it cannot be had
