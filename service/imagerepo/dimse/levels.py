"""The level that an identifier asks at, and the unique keys that have to stand above it.

Source: PS3.4 C.3.1 to C.3.3 (Query/Retrieve Information Models), C.4.1.2.1 and C.4.1.3.1.1 (hierarchical search),
C.4.2.2.1 (retrieval), C.6.1.1 and C.6.2.1 (levels and unique keys of each model).
"""

from collections.abc import Mapping, Sequence
from typing import Final

from imagerepo.dicom.identifier import Identifier
from imagerepo.dimse.query_retrieve import Model
from imagerepo.errors import BadRequestError
from imagerepo.model.query import MOST_VALUES, Key, Level
from imagerepo.model.uids import is_uid

QUERY_RETRIEVE_LEVEL: Final = "00080052"

UNIQUE_KEYS: Final[Mapping[Level, Key]] = {
    Level.PATIENT: Key.PATIENT_ID,
    Level.STUDY: Key.STUDY_INSTANCE_UID,
    Level.SERIES: Key.SERIES_INSTANCE_UID,
    Level.INSTANCE: Key.SOP_INSTANCE_UID,
}
LEVEL_NAMES: Final[Mapping[Level, str]] = {
    Level.PATIENT: "PATIENT",
    Level.STUDY: "STUDY",
    Level.SERIES: "SERIES",
    Level.INSTANCE: "IMAGE",
}
LEVELS: Final[Mapping[Model, Sequence[Level]]] = {
    Model.PATIENT_ROOT: (Level.PATIENT, Level.STUDY, Level.SERIES, Level.INSTANCE),
    Model.STUDY_ROOT: (Level.STUDY, Level.SERIES, Level.INSTANCE),
    Model.PATIENT_STUDY_ONLY: (Level.PATIENT, Level.STUDY),
}
"""The levels of each information model, from its root."""


class IdentifierError(BadRequestError):
    """An identifier is not one of its SOP class: status A900."""

    def __init__(self, message: str, tag: str) -> None:
        """Name the element, "0020000D", that is at fault."""
        super().__init__(message)
        self.tag = tag


class UnmatchableError(BadRequestError):
    """A key's value cannot be matched: status C000."""

    def __init__(self, message: str, tag: str) -> None:
        """Name the element, "00080020", that is at fault."""
        super().__init__(message)
        self.tag = tag


def level_of(identifier: Identifier, model: Model) -> Level:
    """The level that an identifier names.

    Raises:
        IdentifierError: none, or one that the model does not have.
    """
    named = identifier.text(QUERY_RETRIEVE_LEVEL)
    allowed = LEVELS[model]
    for level in allowed:
        if LEVEL_NAMES[level] == named:
            return level
    names = ", ".join(LEVEL_NAMES[level] for level in allowed)
    shown = f"{named[:16]!r} is not one of {names}" if named else f"is missing; one of {names}"
    raise IdentifierError(f"Query/Retrieve Level {shown}", QUERY_RETRIEVE_LEVEL)


def require_above(identifier: Identifier, model: Model, level: Level) -> None:
    """Check that each level above has its unique key, with one value: what hierarchical requests demand.

    Raises:
        IdentifierError: names the first that is missing, is a list or a pattern.
    """
    for above in LEVELS[model]:
        if above is level:
            return
        key = UNIQUE_KEYS[above]
        value = identifier.text(key.tag)
        if not value or "\\" in value or (key.vr == "UI" and not is_uid(value)) or not value.strip("*?"):
            shown = "has to be one value" if value else "is missing"
            raise IdentifierError(f"{_TITLES[key]} {shown} (level {LEVEL_NAMES[level]})", key.tag)


def unique_values(identifier: Identifier, level: Level) -> tuple[str, ...]:
    """What a retrieval at `level` names: one or more UIDs, or one Patient ID.

    Raises:
        IdentifierError: it names none, or no such thing.
    """
    key = UNIQUE_KEYS[level]
    values = tuple(dict.fromkeys(one for one in identifier.text(key.tag).split("\\") if one))
    if not values:
        raise IdentifierError(f"{_TITLES[key]} is missing (level {LEVEL_NAMES[level]})", key.tag)
    if len(values) > MOST_VALUES:
        raise IdentifierError(f"{_TITLES[key]} lists {len(values)} values; {MOST_VALUES} at the most", key.tag)
    if (key.vr == "UI" and not all(map(is_uid, values))) or (key.vr != "UI" and len(values) > 1):
        raise IdentifierError(f"{_TITLES[key]} is no {'UID' if key.vr == 'UI' else 'single value'}", key.tag)
    return values


_TITLES: Final = {
    Key.PATIENT_ID: "Patient ID",
    Key.STUDY_INSTANCE_UID: "Study Instance UID",
    Key.SERIES_INSTANCE_UID: "Series Instance UID",
    Key.SOP_INSTANCE_UID: "SOP Instance UID",
}
