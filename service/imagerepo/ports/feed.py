"""What was committed, for who follows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from imagerepo.model.uids import Uid


@dataclass(frozen=True, slots=True)
class Mark:
    """How far one writer's commits were followed."""

    segment: str  # file name
    position: int  # bytes, after the last commit seen


Marks: TypeAlias = Mapping[str, Mark]
"""By writer."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A version that was stored, and by whom."""

    institution: str
    study_uid: Uid
    series_uid: Uid
    instance_uid: Uid
    version: int
    caller: str  # as model.caller.Caller has it: "ae:CT1"


@dataclass(frozen=True, slots=True)
class Page:
    """Some of what was committed."""

    arrived: Sequence[Arrived]
    marks: Marks  # behind it
    more: bool  # whether there was more


class Feed(Protocol):
    """Follows the commits of all writers. For one thread at a time.

    Promises: whoever begins at `now` and goes on from each page's marks sees every version that is acknowledged after
    that, once, when its rows are visible; the commits of one writer in their order.

    Both methods block for some milliseconds, and raise UnavailableError if the index or the disk cannot be read.
    """

    def now(self) -> Marks:
        """Behind all that is visible now."""
        ...

    def since(self, marks: Marks) -> Page:
        """What became visible after `marks`."""
        ...
