"""What was committed, for who follows it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from imagerepo.model.change import Change
from imagerepo.model.uids import Uid

PASSED: Final = "+"
"""Beside the writers in marks of changes: how many changes of which commit, the next one, were told already."""


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


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Some of what changed in an institution."""

    changes: Sequence[Change]
    marks: Marks  # behind it
    more: bool  # whether there may be more


class ChangeFeed(Protocol):
    """Follows what changed in each institution. Safe to call from any number of threads.

    Promises: whoever goes on from each page's marks, on whichever replica, is told every change that was acknowledged,
    once, when it is visible; of a study in the order in which it changed; to all the same order. Marks hold for as
    long as the repository does, over restarts, upgrades and an index that is made anew.

    All block for some milliseconds, and raise UnavailableError if what is followed cannot be read.
    """

    def now(self, institution: str) -> Marks:
        """Behind all that is told now. The first change of all is behind marks that are empty."""
        ...

    def since(self, institution: str, marks: Marks, limit: int) -> ChangePage:
        """What changed after `marks`, at most so many changes; a page may have fewer, or none, and yet more follow.

        Raises:
            ForgottenError: `marks` are none of this repository.
        """
        ...

    def stamps(self, institutions: Sequence[str]) -> Mapping[str, str]:
        """For each, a text that is another one once there is more to be told; cheap, to be asked all the time."""
        ...
