"""Make the DICOM JSON of what has arrived, and bring it into memory, before anybody asks for it, while it is quiet.

Large instances went past the page cache on their way to the disk. What has just arrived is what is read next: by a
viewer, by a node that it is moved or forwarded to.

What is ready is found in the cache, so nothing has to be remembered: ended at any moment, this begins anew with the
latest arrivals. What it does not reach is made on demand, as before.
"""

from collections import deque
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
LATER: Final = 5
"""Looks until what arrived is brought into memory: whoever asks for it at once has the disk to himself."""


class Readying:
    """Follows the arrivals of all institutions. For one thread."""

    def __init__(self, index: Index, retrieve: Retrieve, metadata: Metadata, has_room: Callable[[], bool]) -> None:
        """Begin with the latest; `has_room` says whether the disk has."""
        self._index = index
        self._retrieve = retrieve
        self._metadata = metadata
        self._has_room = has_room
        self._latest = index.last_arrival()
        self._seen = deque([0], maxlen=LATER)  # the latest at each look
        self._made = 0  # the position up to which that is done
        self._warmed = self._latest  # likewise; what was there before is nothing fresh
        self._to_warm = WARMED  # bytes

    def look(self) -> bool:
        """See what has arrived since the last look; whether there is something to be done, and it is quiet."""
        latest = self._index.last_arrival()
        arrived, self._latest = len(self._index.arrivals(self._latest, _BUSY)), latest
        self._seen.append(latest)
        self._made = max(self._made, latest - BACKLOG)
        return arrived < _BUSY and self._is_behind() and self._has_room()

    def make(self) -> bool:
        """Do some of it; whether there is more."""
        if self._made < self._latest:
            page = self._index.arrivals(self._made, _BATCH)
            for some in slices([version for _, version in page]):
                self._metadata.make_ahead(some)
            self._made = page[-1][0] if page else self._latest
        else:
            page = self._index.arrivals(self._warmed, _BATCH)
            self._warm(version for _, version in page)
            self._warmed = page[-1][0] if page else self._latest
            if self._warmed >= self._latest:
                self._to_warm = WARMED
        return self._is_behind()

    def _is_behind(self) -> bool:
        return self._made < self._latest or self._warmed < self._seen[0]

    def _warm(self, versions: Iterable[Version]) -> None:
        chosen: list[Version] = []
        for one in versions:
            if one.size <= self._to_warm:
                self._to_warm -= one.size
                chosen.append(one)
        self._retrieve.warm(chosen)
