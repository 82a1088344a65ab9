"""What is done with an instance before it joins a commit.

A file is flushed by the thread of its sender, so that no commit waits for gigabytes to reach the disk. What is in
memory is written by the thread that carries the commit: done by each sender's own, it took a fifth more CPU, since
senders then come apart and share fewer commits.
"""

from dataclasses import dataclass
from threading import Lock

from imagerepo import telemetry
from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.segments.append import DIRECT_FROM
from imagerepo.adapters.segments.change import Extent
from imagerepo.adapters.segments.decide import Decided, Decision, Visible, decide
from imagerepo.adapters.segments.place import Place
from imagerepo.adapters.segments.spool import SpoolFile
from imagerepo.model.arrival import InMemory
from imagerepo.model.events import CommitKind, Committed, Request, StoreRequest
from imagerepo.model.instance import Range


@dataclass(slots=True)
class Item:
    """One request on its way through a commit; without result it has to come again."""

    request: Request
    result: Committed | None = None
    where: Range | None = None  # of its bytes, once they are written
    decided: Decided | None = None
    extent: Extent | None = None  # of a change


def is_small(request: StoreRequest) -> bool:
    """Whether its bytes are written with the commit."""
    return isinstance(request.payload, InMemory) and request.payload.size < DIRECT_FROM


class Ahead:
    """Makes items ready for a commit. Safe to call from any number of threads."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._lock = Lock()
        self._connection = connect(place.data / INDEX)
        self._visible = Visible(self._connection)

    def close(self) -> None:
        """Let go of the index."""
        self._connection.close()

    def ready(self, item: Item) -> None:
        """Answer an item that has no room, or flush its file.

        Raises:
            UnavailableError: it cannot be flushed.
        """
        request = item.request
        if not isinstance(request, StoreRequest):
            return
        has_room = self._place.has_room()
        if has_room and isinstance(request.payload, InMemory):
            return
        with self._lock:
            item.decided = decide(request, self._visible.of(request))
        if item.decided.decision is Decision.DUPLICATE:
            item.result = Committed(CommitKind.DUPLICATE, item.decided.version)
        elif item.decided.decision is Decision.STORE and not has_room:
            # Journal entries, and what is stored already, still find room.
            item.result = Committed(CommitKind.FAILED, error=self._place.no_room())
        elif item.decided.decision is Decision.STORE and isinstance(request.payload, SpoolFile):
            with telemetry.ingest_step("write").time():
                item.where = request.payload.make_durable()
