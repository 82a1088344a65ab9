"""Between rows and values."""

from collections.abc import Iterable, Sequence
from typing import Any

from blake3 import blake3

from imagerepo.adapters.moments import moment
from imagerepo.dicom.names import fold_name
from imagerepo.model.instance import Attributes, Copy, Layout, PixelLayout, Range, Version
from imagerepo.model.query import Found, InstanceRow, Level, PatientRow, SeriesRow, StudyRow
from imagerepo.model.tier import Tier
from imagerepo.model.uids import Uid


def fold(text: str) -> str:
    """What a search without regard to case compares."""
    return text.casefold()


def patient_of(attributes: Attributes) -> tuple[str, ...]:
    """What has to agree over a study's instances."""
    return (
        attributes.patient_id,
        attributes.issuer_of_patient_id,
        fold_name(attributes.patient_name),
        attributes.patient_birth_date,
        attributes.patient_sex,
    )


def patient_key(attributes: Attributes) -> int:
    """What an instance says of the patient, hashed to 63 bits: equal for instances that agree."""
    return (
        int.from_bytes(blake3("\0".join(patient_of(attributes)).encode("utf-8", "replace")).digest(8), "little") >> 1
    )


VERSION_COLUMNS = (
    "t.uid, s.uid, i.uid, i.sop_class_uid, v.transfer_syntax, v.number, v.digest, v.crc32, v.size, v.received_at, "
    "v.data_set_offset, v.header_length, v.trailer_offset, v.pixel_offset, v.pixel_length, v.frame_length, v.frames, "
    'c.tier, o.store, o.key, r."offset", r.length'
)


def version_of(institution: str, rows: Sequence[tuple[Any, ...]]) -> Version:
    """A version from its rows of VERSION_COLUMNS, one a range, in order."""
    row = rows[0]
    pixel = PixelLayout(row[13], row[14], row[15], row[16] or b"") if row[13] is not None else None
    return Version(
        institution,
        Uid(row[0]),
        Uid(row[1]),
        Uid(row[2]),
        Uid(row[3]),
        Uid(row[4]),
        row[5],
        row[6],
        row[7],
        row[8],
        moment(row[9]),
        Layout(row[10], row[11], row[12], pixel),
        Copy(tuple(Range(*one[18:22]) for one in rows), Tier(row[17])),
    )


STUDY_COLUMNS = (
    "uid", "patient_id", "issuer_of_patient_id", "patient_name", "patient_birth_date", "patient_sex", "study_date",
    "study_time", "study_id", "study_description", "accession_number", "referring_physician_name", "timezone_offset",
    "modalities", "series_count", "instance_count", "patient_differs",
)  # fmt: skip
_MODALITIES = STUDY_COLUMNS.index("modalities")
SERIES_COLUMNS = (
    "uid", "modality", "series_number", "series_description", "body_part", "performed_step_date",
    "performed_step_time", "instance_count",
)  # fmt: skip
INSTANCE_COLUMNS = (
    "uid", "sop_class_uid", "instance_number", "rows", "columns", "bits_allocated", "number_of_frames",
)  # fmt: skip
_STUDY = slice(len(STUDY_COLUMNS))
_SUMS = slice(_STUDY.stop, _STUDY.stop + 3)  # studies, series and instances of a patient
_SERIES = slice(_STUDY.stop, _STUDY.stop + len(SERIES_COLUMNS))
_INSTANCE = slice(_SERIES.stop, _SERIES.stop + len(INSTANCE_COLUMNS) + 1)


def found_of(rows: Iterable[Sequence[Any]], level: Level) -> list[Found]:
    """What a search found, from the columns of its study, series and instance, or of its study and its patient's sums.

    An instance has the transfer syntax of its current version behind its columns. What follows them is not looked at.
    """
    match level:
        case Level.PATIENT:
            return [_patient_found(_study_row(row), row[_SUMS]) for row in rows]
        case Level.STUDY:
            return [Found(_study_row(row)) for row in rows]
        case Level.SERIES:
            return [Found(_study_row(row), SeriesRow(*row[_SERIES])) for row in rows]
        case Level.INSTANCE:
            return [Found(_study_row(row), SeriesRow(*row[_SERIES]), InstanceRow(*row[_INSTANCE])) for row in rows]


def _study_row(row: Sequence[Any]) -> StudyRow:
    values = list(row[_STUDY])
    modalities = values[_MODALITIES]
    values[_MODALITIES] = tuple(modalities.split("\\")) if modalities else ()
    values[-1] = bool(values[-1])
    return StudyRow(*values)


def _patient_found(study: StudyRow, sums: Sequence[int]) -> Found:
    row = PatientRow(
        study.patient_id,
        study.issuer_of_patient_id,
        study.patient_name,
        study.patient_birth_date,
        study.patient_sex,
        *sums,
    )
    return Found(study, patient=row)
