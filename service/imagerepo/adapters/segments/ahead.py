"""What a sender's own thread does before its instances join a commit: look, and write what is large.

Several threads write at the same time, and none of it holds up a commit. What turns out to be stored already by the
time of the commit lies in the segment for nothing, named by no commit.
"""

from dataclasses import dataclass
from threading import Lock

from imagerepo import telemetry
from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.segments.append import DIRECT_FROM
from imagerepo.adapters.segments.decide import Decided, Decision, Visible, decide
from imagerepo.adapters.segments.place import Place
from imagerepo.adapters.segments.spool import SpoolFile
from imagerepo.adapters.segments.writer import SegmentWriter
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


def is_small(request: StoreRequest) -> bool:
    """Whether its bytes are written with the commit."""
    return isinstance(request.payload, InMemory) and request.payload.size < DIRECT_FROM


def write_large(writer: SegmentWriter, request: StoreRequest) -> Range:
    """Write the bytes of a large instance, to the open segment or to the disk. Raises UnavailableError."""
    payload = request.payload
    if isinstance(payload, InMemory):
        return writer.data(payload.buffers, payload.size, request.crc32)
    assert isinstance(payload, SpoolFile)
    return payload.make_durable()


class Ahead:
    """Makes items ready for a commit. Safe to call from any number of threads."""

    def __init__(self, place: Place, writer: SegmentWriter) -> None:
        self._place = place
        self._writer = writer
        self._lock = Lock()
        self._connection = connect(place.data / INDEX)
        self._visible = Visible(self._connection)

    def close(self) -> None:
        """Let go of the index."""
        self._connection.close()

    def ready(self, item: Item) -> None:
        """Answer an item that has no room or, being large, is stored already; else write it if it is large.

        Raises:
            UnavailableError: it cannot be written.
        """
        request = item.request
        if not isinstance(request, StoreRequest):
            return
        has_room = self._place.has_room()
        if has_room and is_small(request):
            return
        with self._lock:
            item.decided = decide(request, self._visible.of(request))
        if item.decided.decision is Decision.DUPLICATE:
            item.result = Committed(CommitKind.DUPLICATE, item.decided.version)
        elif item.decided.decision is Decision.STORE:
            if not has_room:
                # Journal entries, and what is stored already, still find room.
                item.result = Committed(CommitKind.FAILED, error=self._place.no_room())
                return
            with telemetry.ingest_step("write").time():
                item.where = write_large(self._writer, request)
