"""Reads of objects in S3 (ports.objects.Objects).

A key is never used twice: what was fetched ahead of one is its object's for ever, and whether its version was deleted
meanwhile is told by the generation.
"""

from collections.abc import Callable, Iterable

from imagerepo.adapters.objects_s3.ahead import Bounds, ReadAhead
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.model.instance import Range


class S3Objects:
    """Reads ranges of objects."""

    def __init__(self, store: S3Store, generation: Callable[[], int]) -> None:
        """`generation` grows before objects go that were deleted, anywhere in the cluster; costs nothing."""
        self._store = store
        self._generation = generation
        self._ahead = ReadAhead(store.fetch, Bounds())

    def read(self, where: Range) -> bytes:
        """Read all of `where`; blocks. Raises DamagedError, UnavailableError."""
        if not self._ahead.has(where):
            return self._store.read(where)
        found = bytearray(where.length)
        self.read_into(where, memoryview(found))
        return bytes(found)

    def read_into(self, where: Range, room: memoryview) -> None:
        """Fill `room` with all of `where`; blocks. Raises DamagedError, UnavailableError."""
        at = self._ahead.fill(where, room)
        if at < where.length:
            rest = Range(where.store, where.key, where.offset + at, where.length - at)
            room[at : where.length] = self._store.fetch(rest)

    def read_at_hand(self, where: Range, room: memoryview) -> bool:
        """Fill `room` if what was fetched ahead has all of it. Never blocks."""
        return self._ahead.fill_at_once(where, room)

    def lend(self, where: Range) -> memoryview | None:
        """Nothing can be lent: no page cache has it."""
        del where

    def generation(self) -> int:
        """How often objects of what was deleted began to go, in the whole cluster."""
        return self._generation()

    def expect(self, ranges: Iterable[Range]) -> None:
        """Fetch ahead what is going to be read."""
        self._ahead.expect(ranges)

    def warm(self, ranges: Iterable[Range]) -> None:
        """Fetch ahead as many as there is room for; for a while they are nobody else's room."""
        wanted = list(ranges)
        self._ahead.expect(wanted)
        self._ahead.wait(wanted)
