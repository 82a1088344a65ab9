"""What is stored, found by name or by query."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from imagerepo.model.instance import Version
from imagerepo.model.query import Found, Query
from imagerepo.model.scope import Scope
from imagerepo.model.tier import Tier

POSITIONS_A_COMMIT: Final = 1024
"""Positions that a commit has to give to its instances, and so the most that it holds; most give few of them."""


@dataclass(frozen=True, slots=True)
class Holdings:
    """What one institution has, and in which tier."""

    studies: int
    series: int
    instances: int
    bytes_by_tier: Mapping[Tier, int]


class Index(Protocol):
    """Reads of the index.

    Safe to call from any number of threads; blocks for well below a millisecond for names and for
    one page of an indexed query. No read outlives the call.
    """

    def version(self, scope: Scope) -> Version:
        """The version that `scope` (with an instance) names.

        Raises:
            NotFoundError: no such version in that institution, or not under the named study and series.
        """
        ...

    def versions(self, scope: Scope, after: int, limit: int) -> Sequence[tuple[int, Version]]:
        """A page of current versions with their positions, by series, then in order of storing.

        Args:
            scope: which.
            after: the position of the last one seen; 0 to begin.
            limit: at most so many.
        """
        ...

    def arrivals(self, after: int, limit: int) -> Sequence[tuple[int, Version]]:
        """Current versions of all institutions' instances with their positions, in order of first arrival.

        Args:
            after: the position of the last one seen; 0 to begin.
            limit: at most so many.
        """
        ...

    def last_arrival(self) -> int:
        """The position of the instance that arrived last; 0 if there is none."""
        ...

    def search(self, query: Query) -> Sequence[Found]:
        """Entities that match, at most `query.limit`, in an order that is stable while nothing is stored."""
        ...

    def pages(self, query: Query) -> Iterator[Sequence[Found]]:
        """All entities that match, from the query's offset on and at most its limit, a page at a time.

        What is there when the first page is asked for, and stays, comes once, whatever is stored meanwhile. No read
        outlives a page, so pages may be taken as slowly as a peer takes them.
        """
        ...

    def settle(self) -> None:
        """Return once what was read before is as safe as what was committed: to be vouched for. Blocks.

        Raises:
            UnavailableError: it may not be yet.
        """
        ...

    def study_of(self, scope: Scope) -> str:
        """The Study Instance UID that holds a series or instance. Raises NotFoundError."""
        ...

    def holdings(self) -> Mapping[str, Holdings]:
        """What every institution has."""
        ...

    def check(self) -> None:
        """Raise UnavailableError if the index cannot be read."""
        ...


class MetadataCache(Protocol):
    """DICOM JSON of instances, made once. Losing it costs time, nothing else."""

    def get(self, versions: Sequence[Version]) -> Sequence[bytes | None]:
        """Each version's JSON as one zstd frame, or None."""
        ...

    def put(self, entries: Sequence[tuple[Version, bytes]]) -> None:
        """Keep these zstd frames; may drop them instead."""
        ...
