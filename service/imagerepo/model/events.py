"""What is committed: requests to store or to change, entries for the journal, and what came of them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from imagerepo.errors import ImagerepoError
from imagerepo.model.arrival import Payload
from imagerepo.model.caller import Caller
from imagerepo.model.instance import Attributes, Layout
from imagerepo.model.uids import Uid


class OnDifference(StrEnum):
    """What to do with different bytes under a known SOP Instance UID."""

    VERSION = "version"
    REFUSE = "refuse"


class Action(StrEnum):
    """What a journal entry says was done."""

    STORE = "store"
    REFUSE = "refuse"
    READ = "read"  # the first access of an interval
    READ_COUNT = "read-count"  # the accesses of an interval that has closed
    QUERY = "query"
    DELETE = "delete"
    HOLD = "hold"  # from now on nothing of a study may be deleted
    RELEASE = "release"  # it may be again
    SCHEDULE = "schedule"  # a worklist item was put or changed
    UNSCHEDULE = "unschedule"
    PERFORM = "perform"  # a modality told of a performed procedure step


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """One instance to be made durable and findable."""

    caller: Caller
    attributes: Attributes
    layout: Layout
    transfer_syntax: Uid
    digest: bytes  # BLAKE3 of the data set's bytes
    crc32: int  # of the whole Part 10 file
    payload: Payload
    received_at: datetime  # aware, UTC
    on_difference: OnDifference


@dataclass(frozen=True, slots=True)
class JournalRequest:
    """One entry for the journal that changes nothing stored."""

    caller: Caller
    action: Action
    at: datetime  # aware, UTC
    detail: tuple[tuple[str, str | int], ...]  # bounded; what was read, asked or refused, and why


@dataclass(frozen=True, slots=True)
class ChangeRequest:
    """Something to be done to what is stored, by the administration: a deletion, a hold set or lifted."""

    caller: Caller
    action: Action  # DELETE, HOLD or RELEASE
    at: datetime  # aware, UTC
    study_uid: Uid
    series_uid: Uid | None  # None: the whole study
    instance_uid: Uid | None  # None: the whole series
    reason: str  # bounded

    @property
    def name(self) -> str:
        """What it is about, for messages."""
        if self.instance_uid is not None:
            return f"instance {self.instance_uid}"
        return f"study {self.study_uid}" if self.series_uid is None else f"series {self.series_uid}"


Request: TypeAlias = StoreRequest | JournalRequest | ChangeRequest


class CommitKind(StrEnum):
    """What a commit did with a request."""

    STORED = "stored"  # a new instance, or a new version of a known one
    DUPLICATE = "duplicate"  # the same data set and transfer syntax were stored already
    CONFLICT = "conflict"  # differs from what is stored, and the request refuses a new version
    JOURNALED = "journaled"
    CHANGED = "changed"  # what a ChangeRequest asks for is done
    FAILED = "failed"  # nothing became visible


@dataclass(frozen=True, slots=True)
class Committed:
    """What a commit did with one request."""

    kind: CommitKind
    version: int = 0  # of the instance; 0 if none
    patient_differs: bool = False
    instances: int = 0  # that a deletion removed
    error: ImagerepoError | None = None
