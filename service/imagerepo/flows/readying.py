"""Make the DICOM JSON of what has arrived before anybody asks for it, while nothing more important is to be done.

What is ready is found in the cache, so nothing has to be remembered: ended at any moment, this begins anew with the
latest arrivals. What it does not reach is made on demand, as before.
"""

from collections.abc import Callable
from typing import Final

from imagerepo.flows.metadata import Metadata, slices
from imagerepo.ports.index import POSITIONS_A_COMMIT, Index

BACKLOG: Final = 20_000 * POSITIONS_A_COMMIT
"""Positions that are looked back upon; what is older is left to demand."""

_BATCH: Final = 50  # instances made, and put into the cache, at a time
_BUSY: Final = 10  # arrivals between two looks from which on ingest has the machine to itself


class Readying:
    """Follows the arrivals of all institutions. For one thread."""

    def __init__(self, index: Index, metadata: Metadata, has_room: Callable[[], bool]) -> None:
        """Begin with the latest; `has_room` says whether the disk has."""
        self._index = index
        self._metadata = metadata
        self._has_room = has_room
        self._latest = index.last_arrival()
        self._reached = 0

    def look(self) -> bool:
        """See what has arrived since the last look; whether there is something to be made, and it is quiet."""
        latest = self._index.last_arrival()
        arrived, self._latest = len(self._index.arrivals(self._latest, _BUSY)), latest
        self._reached = max(self._reached, latest - BACKLOG)
        return arrived < _BUSY and self._reached < latest and self._has_room()

    def make(self) -> bool:
        """Make a batch; whether there is more."""
        page = self._index.arrivals(self._reached, _BATCH)
        for some in slices([version for _, version in page]):
            self._metadata.make_ahead(some)
        self._reached = page[-1][0] if page else self._latest
        return self._reached < self._latest
