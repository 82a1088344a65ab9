"""What keeps a cluster's objects in order."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias

from imagerepo.model.instance import Attributes, Range
from imagerepo.model.scope import Scope

Position: TypeAlias = tuple[int, int, int]
"""Of a copy among all copies: keys of its instance, version and copy."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What became of some objects of an institution."""

    last: str  # key of the last one that was looked at; behind it, it goes on
    is_end: bool  # no other comes behind it
    seen: int  # objects
    removed: int
    spared: int  # that no row names, and that are older than the database as it stands


class Sweeper(Protocol):
    """Removes objects that no row names. Safe to call from any number of threads and processes."""

    def sweep(self, institution: str, after: str, grace: timedelta) -> Swept:
        """Look at some objects, in order of their keys.

        What is stored meanwhile, however slowly, is either left alone or refused to whoever stores it: no row ever
        names an object that was removed here.

        Args:
            institution: whose.
            after: the key behind which to begin; '' for the first.
            grace: objects that are younger are left alone.

        Raises:
            UnavailableError: some may have been removed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """A copy of a version, as its rows say."""

    position: Position
    institution: str
    instance_uid: str
    number: int  # of the version
    data_set_offset: int  # bytes
    digest: bytes  # BLAKE3 of the data set's bytes
    crc32: int  # of the whole Part 10 file
    ranges: tuple[Range, ...]  # none: rows are missing that say what its bytes are, and where


class Copies(Protocol):
    """All copies of all institutions. Raises UnavailableError."""

    def page(self, after: Position, limit: int) -> Sequence[Kept]:
        """Copies behind a position, in order."""
        ...

    def find(self, position: Position) -> Kept | None:
        """The copy at a position; None: it is gone."""
        ...

    def verified(self, positions: Sequence[Position], at: datetime) -> None:
        """Note that their bytes were what they should be."""
        ...


@dataclass(frozen=True, slots=True)
class Reread:
    """What a version's bytes say."""

    instance: int  # position, as the index has it
    version: int
    attributes: Attributes


class Reindexer(Protocol):
    """Writes attributes anew."""

    def describe(self, study: Scope, found: Sequence[Reread]) -> None:
        """Have the rows of instances say this, and those of their study and series as follows from it.

        What was deleted meanwhile, or has another version by now, is passed over. Raises UnavailableError: nothing
        has changed.
        """
        ...
