"""Read the batches of one answer, each while the one before it is sent, if it has to be waited for.

What memory holds is read at once when its turn comes. After something that had to come from the disk, the next batch
is fetched by a thread meanwhile: so the disk is not waited for instance by instance, and it takes two buffers only.
From then on the store is told of the batches behind it too, and brings them nearer, many at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final

from imagerepo.flows.batches import Batch
from imagerepo.model.instance import Range, Version
from imagerepo.ports.objects import Objects

_TOLD: Final = 16
"""Batches that the store is told of: as many as keep several requests in flight, and few enough for its memory."""

_Piece = tuple[Batch, memoryview]

Fill = Callable[[Range, memoryview, Sequence[Version]], None]
"""Fills room with a range of one of the versions. Raises DamagedError, NotFoundError."""


class Reader:
    """The batches of one answer in memory, one after another."""

    def __init__(self, objects: Objects, fill: Fill, planned: Iterator[Batch]) -> None:
        self._objects = objects
        self._fill = fill
        self._planned = planned
        self._told: deque[Batch] = deque()
        self._tells = False  # once something had to be waited for
        self._buffers = _Buffers()
        self._next: tuple[_Piece, asyncio.Future[None] | None] | None = None  # begun: its reading, if it is waited for

    async def next(self) -> _Piece | None:
        """The next batch and its bytes; None after the last. Raises DamagedError, NotFoundError."""
        begun = self._next or self._begin()
        self._next = None
        if begun is None:
            return None
        piece, reading = begun
        if reading is not None:
            await reading
            self._next = self._begin()
        return piece

    def sent(self, view: memoryview) -> None:
        """Bytes that `next` gave are not looked at any more."""
        self._buffers.give_back(view)

    def _begin(self) -> tuple[_Piece, asyncio.Future[None] | None] | None:
        batch = self._take()
        if batch is None:
            return None
        view = self._buffers.take(batch.size)
        for at, text in batch.texts:
            view[at : at + len(text)] = text
        at_hand = self._objects.read_at_hand
        if all(at_hand(where, view[at : at + where.length]) for at, where in batch.ranges):
            return (batch, view), None
        self._tells = True
        reading = asyncio.get_running_loop().run_in_executor(None, self._read, batch, view)
        reading.add_done_callback(_seen)
        return (batch, view), reading

    def _take(self) -> Batch | None:
        if self._tells and len(self._told) <= _TOLD // 2:
            more = list(islice(self._planned, _TOLD - len(self._told)))
            if more:
                self._told += more
                ranges = [where for batch in more for _, where in batch.ranges]
                asyncio.get_running_loop().run_in_executor(None, self._objects.expect, ranges)
        return self._told.popleft() if self._told else next(self._planned, None)

    def _read(self, batch: Batch, view: memoryview) -> None:
        if len(batch.ranges) > 1:
            self._objects.expect(where for _, where in batch.ranges)  # together, rather than one after another
        for at, where in batch.ranges:
            self._fill(where, view[at : at + where.length], batch.versions)


def _seen(reading: asyncio.Future[None]) -> None:
    """Nobody need wait for it: its reader may have left."""
    if not reading.cancelled():
        reading.exception()


class _Buffers:
    """Buffers to be used again as soon as the network has let go of them.

    A fresh one costs its zeroing; one just used is still in the processor's cache.
    """

    def __init__(self) -> None:
        self._free: list[bytearray] = []
        self._used: dict[int, bytearray] = {}  # by the identity of its view

    def take(self, size: int) -> memoryview:
        """Room for `size` bytes."""
        buffer = self._free.pop() if self._free else bytearray()
        if len(buffer) < size:
            buffer = bytearray(size)
        view = memoryview(buffer)[:size]
        self._used[id(view)] = buffer
        return view

    def give_back(self, view: memoryview) -> None:
        """Room that `take` gave is used up."""
        buffer = self._used.pop(id(view))
        try:
            view.release()
            # A buffer keeps its size while anybody has a view of it: the network, of what it could not send yet.
            buffer.append(buffer.pop())
        except BufferError:
            return
        self._free.append(buffer)
