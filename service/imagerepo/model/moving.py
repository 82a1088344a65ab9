"""What has come of moving a data folder to a cluster."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stuck:
    """A version that could not be moved."""

    instance: str  # SOP Instance UID
    version: int
    reason: str
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Moved:
    """What one transaction, or a look at what was moved before, has come to."""

    lines: int = 0  # of the journal
    stored: int = 0  # versions
    stored_size: int = 0  # bytes
    already: int = 0  # versions that are there by another way
    already_size: int = 0  # bytes
    earlier_size: int = 0  # bytes of versions that an earlier run has moved
    stuck: tuple[Stuck, ...] = ()
