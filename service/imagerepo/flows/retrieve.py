"""Access → index → plan byte ranges → stream. Nothing is parsed; memory is bounded whatever the study's size."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

from imagerepo import telemetry
from imagerepo.model.caller import Caller
from imagerepo.model.instance import Range, Version
from imagerepo.model.scope import Scope
from imagerepo.ports.index import Index
from imagerepo.ports.objects import Objects

PAGE = 500  # versions looked up at a time
PIECE = 1 << 20  # bytes read at a time


class Retrieve:
    """Finds versions and streams their bytes."""

    def __init__(self, index: Index, objects: Objects) -> None:
        self._index = index
        self._objects = objects

    def version(self, scope: Scope) -> Version:
        """The version that `scope` names. Raises NotFoundError."""
        return self._index.version(scope)

    def pages(self, scope: Scope) -> Iterator[Sequence[Version]]:
        """All current versions in `scope`, page by page, by series in order of storing; blocks at each page."""
        after = 0
        while page := self._index.versions(scope, after, PAGE):
            after = page[-1][0]
            yield [version for _, version in page]
            if len(page) < PAGE:
                return

    def study_of(self, scope: Scope) -> str:
        """The Study Instance UID that holds what `scope` names. Raises NotFoundError."""
        return self._index.study_of(scope)

    async def stream(
        self, caller: Caller, version: Version, offset: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes | bytearray]:
        """Bytes of a version's Part 10 file in pieces of at most PIECE.

        Args:
            caller: for the metrics.
            version: which.
            offset: where to begin, in bytes.
            length: how many bytes; None for all that follow.
        """
        sent = telemetry.retrieved_bytes.labels(caller.institution, version.copy.tier)
        for where in pieces(version, offset, version.size - offset if length is None else length):
            piece: bytes | bytearray | None = self._objects.read_at_hand(where)
            if piece is None:
                piece = await asyncio.to_thread(self._objects.read, where)
            sent.inc(len(piece))
            yield piece

    def read(self, version: Version, offset: int, length: int) -> bytes:
        """Some bytes of a version's Part 10 file; blocks. For headers and the like: held whole in memory."""
        return b"".join(self._objects.read(where) for where in pieces(version, offset, length))


def pieces(version: Version, offset: int, length: int) -> Iterator[Range]:
    """Cut `length` bytes at `offset` of a version's file into ranges of its copy, each at most PIECE long."""
    for where in version.copy.ranges:
        if offset >= where.length:
            offset -= where.length
            continue
        take = min(where.length - offset, length)
        start, end = where.offset + offset, where.offset + offset + take
        while start < end:
            step = min(PIECE, end - start)
            yield Range(where.store, where.key, start, step)
            start += step
        offset, length = 0, length - take
        if length <= 0:
            return
