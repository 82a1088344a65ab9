"""What keeps the ports' promises in one process, whichever the shape."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from imagerepo.ports.commits import Commits
from imagerepo.ports.feed import ChangeFeed, Feed
from imagerepo.ports.holds import Holds
from imagerepo.ports.index import Index, MetadataCache
from imagerepo.ports.intervals import Intervals
from imagerepo.ports.objects import Objects
from imagerepo.ports.tasks import Tasks
from imagerepo.ports.worklist import Worklist


class Tended(Protocol):
    """What may have something left to do."""

    def tend(self) -> None:
        """Do it. Raises UnavailableError."""
        ...


@dataclass(frozen=True, slots=True)
class Reads:
    """What is stored, and the DICOM JSON made of it."""

    index: Index
    objects: Objects
    kept: MetadataCache


@dataclass(frozen=True, slots=True)
class Parts:
    """All that a writer's process has."""

    reads: Reads
    commits: Commits
    holds: Holds
    intervals: Intervals
    tasks: Tasks
    worklist: Worklist
    feed: Callable[[], Feed]  # for who follows: opened where it is wanted
    changes: ChangeFeed
    check: Callable[[], None]  # raises UnavailableError where nothing can be read; for /readyz
    tended: tuple[Tended, ...]  # every second, each from a thread of its own
    chores: tuple[Tended, ...]  # likewise, but in one process of a server alone: that which does tasks
    close: Callable[[], None]  # nothing may be under way
