"""Bring what has arrived into memory, and make its DICOM JSON, before anybody asks for it, while it is quiet.

Large instances went past the page cache on their way to the disk. What has just arrived is what is read next: by a
viewer, by a node that it is moved or forwarded to.

What is ready is found in the cache, so nothing has to be remembered: ended at any moment, this begins anew with the
latest arrivals. What it does not reach is made on demand, as before.
"""

from collections.abc import Callable, Iterable
from typing import Final

from imagerepo.flows.metadata import Metadata, slices
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version
from imagerepo.ports.index import POSITIONS_A_COMMIT, Index

BACKLOG: Final = 20_000 * POSITIONS_A_COMMIT
"""Positions that are looked back upon; what is older is left to demand."""

WARMED: Final = 1 << 30
"""Bytes brought into memory between two times that nothing was left to be done: a burst may be larger than memory."""
_BATCH: Final = 50  # instances made, and put into the cache, at a time
_BUSY: Final = 10  # arrivals between two looks from which on ingest has the machine to itself


class Readying:
    """Follows the arrivals of all institutions. For one thread."""

    def __init__(self, index: Index, retrieve: Retrieve, metadata: Metadata, has_room: Callable[[], bool]) -> None:
        """Begin with the latest; `has_room` says whether the disk has."""
        self._retrieve = retrieve
        self._index = index
        self._metadata = metadata
        self._has_room = has_room
        self._latest = index.last_arrival()
        self._reached = 0
        self._to_warm = WARMED  # bytes

    def look(self) -> bool:
        """See what has arrived since the last look; whether there is something to be made, and it is quiet."""
        latest = self._index.last_arrival()
        arrived, self._latest = len(self._index.arrivals(self._latest, _BUSY)), latest
        self._reached = max(self._reached, latest - BACKLOG)
        return arrived < _BUSY and self._reached < latest and self._has_room()

    def make(self) -> bool:
        """Make a batch; whether there is more."""
        page = self._index.arrivals(self._reached, _BATCH)
        versions = [version for _, version in page]
        self._warm(versions)
        for some in slices(versions):
            self._metadata.make_ahead(some)
        self._reached = page[-1][0] if page else self._latest
        if self._reached < self._latest:
            return True
        self._to_warm = WARMED
        return False

    def _warm(self, versions: Iterable[Version]) -> None:
        chosen: list[Version] = []
        for one in versions:
            if one.size <= self._to_warm:
                self._to_warm -= one.size
                chosen.append(one)
        self._retrieve.warm(chosen)
