"""Scheduled and performed procedure steps: what a modality is to do, and what it says that it does.

Source: PS3.4 Annex K (Basic Worklist Management), PS3.4 Annex F (Procedure Step SOP Classes).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from imagerepo.model.header import Header


class StepState(StrEnum):
    """What has become of a scheduled step: Scheduled Procedure Step Status (0040,0020)."""

    SCHEDULED = "SCHEDULED"
    STARTED = "STARTED"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"


class PerformedStatus(StrEnum):
    """Performed Procedure Step Status (0040,0252)."""

    IN_PROGRESS = "IN PROGRESS"
    COMPLETED = "COMPLETED"
    DISCONTINUED = "DISCONTINUED"

    @property
    def state(self) -> StepState:
        """What it makes of the scheduled step that it is about."""
        return _STATES[self]


_STATES = {
    PerformedStatus.IN_PROGRESS: StepState.STARTED,
    PerformedStatus.COMPLETED: StepState.COMPLETED,
    PerformedStatus.DISCONTINUED: StepState.DISCONTINUED,
}


@dataclass(frozen=True, slots=True)
class ScheduledStep:
    """One item of the worklist: one scheduled procedure step with its request, patient and visit."""

    institution: str
    id: str  # by which it is put, changed and removed
    content: Header  # its Scheduled Procedure Step Sequence has one item
    state: StepState
    study_uid: str
    step_id: str  # Scheduled Procedure Step ID
    patient_id: str
    day: str  # YYYYMMDD on which it starts
    time: str  # HHMMSS.FFFFFF or its beginning; '' if unknown
    changed_at: datetime  # aware, UTC


Cursor: TypeAlias = tuple[str, str, str]
"""Day, time and id of the last item seen."""
BEGINNING: Cursor = ("", "", "")


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which items can match at all: what an index leads to."""

    first_day: str = ""  # YYYYMMDD, included; '' is open
    last_day: str = ""
    patient_id: str = ""  # '' is any


@dataclass(frozen=True, slots=True)
class PerformedStep:
    """A performed procedure step, as its modality told it."""

    institution: str
    uid: str  # SOP Instance UID
    status: PerformedStatus
    content: Header
    changed_at: datetime  # aware, UTC

    @property
    def scheduled(self) -> tuple[tuple[str, str], ...]:
        """Study Instance UID and Scheduled Procedure Step ID ('' if none) of each step that it is about."""
        attribute = self.content.get("00400270")
        items = [one for one in attribute.values if isinstance(one, Mapping)] if attribute else []
        return tuple((first(item, "0020000D"), first(item, "00400009")) for item in items)


def first(header: Header, tag: str) -> str:
    """The first value of an attribute; '' if it has none, or items."""
    attribute = header.get(tag)
    value = attribute.values[0] if attribute and attribute.values else ""
    return "" if isinstance(value, Mapping) else str(value)
