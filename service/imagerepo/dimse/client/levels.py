"""What is asked at each level of the information models unless somebody says otherwise.

Source: PS3.4 C.6.1.1 and C.6.2.1 (levels and keys of the Patient Root and Study Root models).
"""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from imagerepo.dimse.client import keys
from imagerepo.dimse.query_retrieve import Model
from imagerepo.errors import BadRequestError
from imagerepo.model.header import Attribute, Header

LEVEL: Final = "00080052"
"""Query/Retrieve Level."""


class QueryLevel(StrEnum):
    """A level, as commands write it."""

    PATIENT = "patient"
    STUDY = "study"
    SERIES = "series"
    IMAGE = "image"


class Root(StrEnum):
    """An information model, as commands write it."""

    PATIENT = "patient"
    STUDY = "study"

    @property
    def model(self) -> Model:
        """Its SOP classes."""
        return Model.PATIENT_ROOT if self is Root.PATIENT else Model.STUDY_ROOT


_UNIQUE: Final = {
    QueryLevel.PATIENT: "PatientID",
    QueryLevel.STUDY: "StudyInstanceUID",
    QueryLevel.SERIES: "SeriesInstanceUID",
    QueryLevel.IMAGE: "SOPInstanceUID",
}
_ASKED: Final = {
    QueryLevel.PATIENT: ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    QueryLevel.STUDY: (
        "StudyInstanceUID",
        "StudyDate",
        "StudyTime",
        "AccessionNumber",
        "PatientID",
        "PatientName",
        "ModalitiesInStudy",
        "StudyDescription",
        "NumberOfStudyRelatedInstances",
    ),
    QueryLevel.SERIES: (
        "SeriesInstanceUID",
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
    ),
    QueryLevel.IMAGE: ("SOPInstanceUID", "SOPClassUID", "InstanceNumber", "NumberOfFrames"),
}


def query(level: QueryLevel, root: Root, written: Iterable[str]) -> Header:
    """The identifier of a C-FIND: the given keys, and the usual ones of the level to be returned.

    Raises:
        BadRequestError: a key is unknown, or the model does not have the level.
    """
    return _at(level, root, keys.merged(keys.parse(_ASKED[level]), keys.parse(written)))


def columns(level: QueryLevel, identifier: Header) -> tuple[str, ...]:
    """Tags of an identifier in the order that people read them: the usual keys of the level, then the others."""
    usual = [tag for keyword in _ASKED[level] for tag in keys.parse([keyword])]
    return tuple(dict.fromkeys((*usual, *(tag for tag in identifier if tag != LEVEL))))


def retrieval(level: QueryLevel, root: Root, written: Iterable[str]) -> Header:
    """The identifier of a C-MOVE or C-GET: unique keys alone (PS3.4 C.4.2.1.4).

    Raises:
        BadRequestError: the level's unique key is missing, or the model does not have the level.
    """
    given = keys.parse(written)
    unique = _UNIQUE[level]
    (tag,) = keys.parse([unique])
    if tag not in given or not given[tag].values:
        raise BadRequestError(f"at level {level} a retrieval needs {unique}=…")
    return _at(level, root, given)


def _at(level: QueryLevel, root: Root, header: Header) -> Header:
    if level is QueryLevel.PATIENT and root is not Root.PATIENT:
        raise BadRequestError("the Study Root model has no level patient; add --model patient")
    return keys.merged(header, {LEVEL: Attribute("CS", (level.upper(),))})
