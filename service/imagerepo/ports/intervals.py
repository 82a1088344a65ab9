"""Intervals of the audit: which are open, and how many reads they have had, over all processes."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class State(Enum):
    """What `enter` found."""

    FIRST = "first"  # none was open: the caller makes the entry, then says `opened`
    OPENING = "opening"  # another process is making the entry, which may fail yet
    OPEN = "open"  # the entry is durable


@dataclass(frozen=True, slots=True)
class Entered:
    """An interval that a read was counted in."""

    state: State
    until: float  # monotonic seconds; with the name it tells which interval
    over: int = 0  # reads of the one before it, which nobody has closed


class Intervals(Protocol):
    """Counts reads by interval. Safe to call from any number of threads; never waits for a disk."""

    def enter(self, name: bytes, now: float, length: float) -> Entered:
        """Count a read in the interval of that name (16 bytes), opening one of `length` seconds if none is open.

        One that is over and that nobody has closed, its process may have died, is closed by this.
        """
        ...

    def opened(self, name: bytes, until: float) -> None:
        """The entry of an interval found FIRST is durable."""
        ...

    def close(self, name: bytes, until: float) -> int:
        """End an interval: the reads it has had; 0 if another process has ended it."""
        ...
