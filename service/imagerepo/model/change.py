"""What changed in an institution, as whoever follows it is told."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from imagerepo.model.uids import Uid


class ChangeKind(StrEnum):
    """What became of something."""

    STORED = "stored"  # a version of an instance
    DELETED = "deleted"  # a study, a series or an instance
    HELD = "held"  # nothing of a study may be deleted from now on
    RELEASED = "released"  # it may be again


@dataclass(frozen=True, slots=True)
class Change:
    """One change; what does not apply to its kind is None, 0 or ''."""

    id: str  # no other change of the institution has it
    kind: ChangeKind
    at: datetime  # aware, UTC
    caller: str  # as model.caller.Caller has it
    study_uid: Uid
    series_uid: Uid | None = None  # None: the whole study
    instance_uid: Uid | None = None  # None: the whole series
    version: int = 0
    instances: int = 0  # that a deletion removed
    reason: str = ""
