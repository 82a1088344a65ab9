"""What can be sent as the data set of a message: above all what is stored, without looking at it.

What the page cache holds is sent from there. Else, over TLS, and at the end of each data set, bytes are read into a
buffer that is used again and again, so that it stays in the processor's cache. The headers that PDUs need stand beside
it and are made once.

Source: PS3.8 section 9.3.5 (P-DATA-TF), Annex E (PDV encoding).
"""

from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

from imagerepo import telemetry
from imagerepo.dimse.pdu import LAST, Framing, data_header, pdus, step
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.arrival import Buffer
from imagerepo.model.instance import Version

BATCH: Final = 640 << 10
"""Bytes read and written at once at the most: an image of 512 KB with its header."""
AHEAD: Final = 4 << 20
"""Bytes of a large data set that are brought nearer while those before them are sent."""

LENT: Final = 4 << 20
"""Bytes sent uncopied at once at the most."""
_COPIED: Final = 4096  # bytes at the end of a data set, at the least
_MOST_PDUS: Final = 500  # in what is sent uncopied at once: a socket takes about as many buffers
_WORTH_LENDING: Final = 64 << 10  # bytes: to map fewer takes longer than to copy them

_IDLE_ROOMS: Final = 16  # kept for the next data set


class Outgoing(Protocol):
    """Something that can write its data set as P-DATA fragments."""

    def fragments(self, framing: Framing) -> Iterator[Sequence[Buffer]]:
        """PDUs with their headers, in order, the last one with the last bit.

        Each item is written at once; its buffers are valid until the next one is asked for.
        """
        ...


class Room:
    """A buffer, and how it is cut into PDUs. Belongs to one data set at a time."""

    def __init__(self) -> None:
        """Allocate the buffer."""
        self._view = memoryview(bytearray(BATCH))
        self._context_id = 0
        self._step = 0
        self._size = 0  # bytes used: whole fragments
        self._whole: list[Buffer] = []  # headers and fragments, by turns, all of the same length

    def lay_out(self, framing: Framing) -> memoryview:
        """Prepare for a context and the peer's largest PDU; the room that one batch has."""
        size = step(framing, BATCH)
        if (framing.context_id, size) != (self._context_id, self._step):
            self._context_id, self._step = framing.context_id, size
            self._size = BATCH // size * size
            header = data_header(framing.context_id, size, 0)
            parts = (self._view[start : start + size] for start in range(0, self._size, size))
            self._whole = [one for part in parts for one in (header, part)]
        return self._view[: self._size]

    def pdus(self, size: int, control: int) -> Sequence[Buffer]:
        """The first `size` bytes as PDUs; `control` is the message control header of the last one."""
        whole, rest = divmod(size, self._step)
        if rest:
            part = self._view[size - rest : size]
            return [*self._whole[: 2 * whole], data_header(self._context_id, rest, control), part]
        buffers = self._whole[: 2 * whole]
        buffers[-2] = data_header(self._context_id, self._step, control)
        return buffers


class DataSets:
    """Data sets of stored versions. Safe to call from any number of threads."""

    def __init__(self, retrieve: Retrieve) -> None:
        """Read by `retrieve`."""
        self._retrieve = retrieve
        # From before any version was looked up that is sent here: one may wait for its turn until its bytes are gone.
        self.generation = retrieve.generation()
        self._rooms: deque[Room] = deque(maxlen=_IDLE_ROOMS)

    def __call__(self, version: Version) -> "StoredDataSet":
        """The data set of a version."""
        return StoredDataSet(self._retrieve, self, version)

    @contextmanager
    def room(self) -> Generator[Room]:
        """A room: the one that was used last, whose bytes the processor has at hand."""
        try:
            room = self._rooms.pop()
        except IndexError:
            room = Room()
        try:
            yield room
        finally:
            self._rooms.append(room)


@dataclass(frozen=True, slots=True)
class StoredDataSet:
    """The data set of a stored version, never whole in memory."""

    retrieve: Retrieve
    rooms: DataSets
    version: Version

    def fragments(self, framing: Framing) -> Iterator[Sequence[Buffer]]:
        """PDUs in batches, each lent or read when it is asked for.

        Raises:
            DamagedError: the bytes cannot be read, or are not what was stored.
            NotFoundError: the version was deleted meanwhile.
        """
        version = self.version
        sent = telemetry.bytes_retrieved(version.institution, version.copy.tier)
        at, known = version.layout.data_set_offset, self.rooms.generation
        if framing.takes_lent:
            most = min(LENT, _MOST_PDUS * step(framing, LENT))
            before = self.retrieve.generation()
            while (lent := self._lent(at, known, most)) is not None:
                known = before
                yield pdus(lent, framing)
                at += len(lent)
                sent.inc(len(lent))
                before = self.retrieve.generation()
        for size, buffers in self._copied(framing, at, known):
            yield buffers
            sent.inc(size)

    def _lent(self, at: int, known: int, most: int) -> memoryview | None:
        """Bytes from `at` on that are sent uncopied; None: the rest is copied, so that it is seen to be theirs still.

        What was lent can be given back while it is sent. The peer has no data set then: it lacks its end.
        """
        left = self.version.size - at
        size = min(most, left - _COPIED) & ~1
        if size < _WORTH_LENDING:
            return None
        self.retrieve.check((self.version,), known)
        # Through the end where that is near: should it be missing, nothing is sent.
        lent = self.retrieve.lend(self.version, at, min(most + _COPIED, left))
        return None if lent is None else lent[:size]

    def _copied(self, framing: Framing, at: int, known: int) -> Iterator[tuple[int, Sequence[Buffer]]]:
        retrieve, version, end = self.retrieve, self.version, self.version.size
        with self.rooms.room() as room:
            view = room.lay_out(framing)
            seal = retrieve.seal(version, at)
            while at < end:
                size = min(len(view), end - at)
                before = retrieve.generation()
                retrieve.fill(view[:size], version, at)
                retrieve.check((version,), known)
                known = before
                seal.add(view[:size])
                at += size
                if at == end:
                    seal.close()
                if at < end:
                    retrieve.expect(((version, at, min(AHEAD, end - at)),))
                yield size, room.pdus(size, 0 if at < end else LAST)


class Begun:
    """A data set whose first bytes are read: they are at hand when it is its turn. To be sent once."""

    def __init__(self, data: Outgoing, framing: Framing) -> None:
        """Read them, cut like this. Raises what reading raises."""
        self._data = data
        self._for = framing
        self._fragments = data.fragments(framing)
        self._first = next(self._fragments)

    def fragments(self, framing: Framing) -> Iterator[Sequence[Buffer]]:
        """As of the data set; for another framing it is begun anew."""
        if framing != self._for:
            yield from self._data.fragments(framing)
            return
        yield self._first
        yield from self._fragments
