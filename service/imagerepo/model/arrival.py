"""What comes in, and what became of it."""

import mmap
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypeAlias

from imagerepo.errors import ImagerepoError
from imagerepo.model.uids import Uid

# collections.abc.Buffer needs Python 3.12.
Buffer: TypeAlias = bytes | bytearray | memoryview | mmap.mmap


@dataclass(frozen=True, slots=True)
class InMemory:
    """A Part 10 file held in memory: its buffers in order, so that nothing is joined."""

    buffers: tuple[Buffer, ...]
    size: int  # bytes, the sum of the buffers


class Spooled(Protocol):
    """A Part 10 file that outgrew its buffer and was written where it will stay.

    Until a commit names it, it is unnamed: `discard` or the sweeper removes it.
    """

    @property
    def size(self) -> int:
        """Bytes written so far."""
        ...

    def write(self, chunk: Buffer) -> None:
        """Append; blocks. Raises OutOfSpaceError."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Read back; blocks."""
        ...

    def map(self) -> mmap.mmap:
        """A read-only view of what was written; the caller closes it."""
        ...

    def discard(self) -> None:
        """Remove it; does nothing once committed."""
        ...


Payload: TypeAlias = InMemory | Spooled


class OutcomeKind(StrEnum):
    """What became of an arrival; the label `outcome` of imagerepo_ingest_instances_total."""

    STORED = "stored"
    DUPLICATE = "duplicate"  # the same bytes were stored already: success
    NEW_VERSION = "new_version"  # different bytes under a known UID
    CONFLICT = "conflict"  # likewise, refused by setting
    REFUSED = "refused"  # not DICOM, malformed, not allowed
    UNAVAILABLE = "unavailable"  # nothing became visible; may be retried


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one arrival. A successful one is durable and findable."""

    kind: OutcomeKind
    sop_class_uid: Uid | None  # as far as it could be read
    instance_uid: Uid | None
    study_uid: Uid | None
    series_uid: Uid | None
    version: int  # 0 if not stored
    patient_differs: bool  # stored, but the study's patient attributes disagree (flagged)
    error: ImagerepoError | None

    @property
    def success(self) -> bool:
        """Whether the sender may forget its own copy."""
        return self.error is None
