"""Access → index → plan byte ranges → stream. Nothing is parsed; memory is bounded whatever the study's size."""

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence

from imagerepo import telemetry
from imagerepo.flows.batches import Extent, Part, batches, piece, ranges_of
from imagerepo.flows.reading import Reader
from imagerepo.flows.sealing import TRUSTING, Seal, Sealed, Seals
from imagerepo.flows.whereabouts import Whereabouts
from imagerepo.model.caller import Caller
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.ports.index import Index
from imagerepo.ports.objects import Objects

PAGE = 500  # versions looked up at a time


class Retrieve:
    """Finds versions and streams their bytes."""

    def __init__(self, index: Index, objects: Objects, seals: Seals = TRUSTING) -> None:
        """`seals`: what is read is held against."""
        self._index = index
        self._seals = seals
        self._objects = objects
        self._whereabouts = Whereabouts(index, objects)
        self._answers = 0  # that are streamed now, by the event loop

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

    def settle(self) -> None:
        """Return once what was found before may be vouched for; blocks. Raises UnavailableError."""
        self._index.settle()

    def study_of(self, scope: Scope) -> str:
        """The Study Instance UID that holds what `scope` names. Raises NotFoundError."""
        return self._index.study_of(scope)

    async def stream(self, caller: Caller, parts: Iterable[Part]) -> AsyncGenerator[memoryview]:
        """The parts, one after another, in pieces of at most batches.PIECE bytes, smaller where many are streamed.

        A piece is valid until the next is asked for.

        Args:
            caller: for the metrics.
            parts: text, and bytes of versions.

        Raises:
            NotFoundError: one of the versions was deleted meanwhile.
            DamagedError: bytes are missing, or not what was stored.
        """
        generation = self._objects.generation()
        sealed = Sealed(self._seals)
        planned = batches(sealed.noted(parts), lambda: piece(self._answers))
        reader = Reader(self._objects, self._whereabouts.read_into, planned)
        self._answers += 1
        try:
            while (read := await reader.next()) is not None:
                batch, view = read
                if self._objects.generation() != generation:
                    await asyncio.to_thread(self.check, batch.versions, generation)
                sealed.look(batch, view)
                for tier, size in batch.stored.items():
                    telemetry.bytes_retrieved(caller.institution, tier).inc(size)
                yield view
                reader.sent(view)
        finally:
            self._answers -= 1

    def read(self, version: Version, offset: int, length: int) -> bytes:
        """Some bytes of a version's Part 10 file; blocks. For headers and the like: held whole in memory."""
        return b"".join(self._whereabouts.read(where, (version,)) for where in ranges_of(version, offset, length))

    def fill(self, room: memoryview, version: Version, offset: int) -> None:
        """Fill `room` with bytes of a version's Part 10 file from `offset` on; blocks. Raises DamagedError."""
        at = 0
        for where in ranges_of(version, offset, len(room)):
            self._whereabouts.read_into(where, room[at : at + where.length], (version,))
            at += where.length

    def seal(self, version: Version, offset: int) -> Seal:
        """For who reads a version's file by `read` or `fill` from `offset` to its end."""
        return self._seals.of(Extent(version, offset, version.size - offset))

    def lend(self, version: Version, offset: int, length: int) -> memoryview | None:
        """A view of bytes of a version's Part 10 file for the kernel to send; see ports.objects.Objects.lend.

        None: they cannot be lent, or lie in several places.
        """
        found = list(ranges_of(version, offset, length))
        return self._objects.lend(found[0]) if len(found) == 1 else None

    def generation(self) -> int:
        """To be asked before versions are looked up whose bytes are read much later, for `check`."""
        return self._objects.generation()

    def check(self, versions: Iterable[Version], generation: int) -> None:
        """See that bytes which were read of versions are theirs still: those of what is deleted go after a while.

        Blocks if anything was deleted, and only then.

        Args:
            versions: whose bytes were read.
            generation: what it was before they were looked up.

        Raises:
            NotFoundError: one of them was deleted; what was read of it is not to be sent.
        """
        if self._objects.generation() == generation:
            return
        for one in versions:
            self._index.version(Scope(one.institution, one.study_uid, one.series_uid, one.instance_uid, one.number))

    def expect(self, extents: Iterable[tuple[Version, int, int]]) -> None:
        """Have what is going to be read brought nearer: offset and length in a version's file."""
        self._objects.expect(
            where for version, offset, length in extents for where in ranges_of(version, offset, length)
        )

    def warm(self, versions: Iterable[Version]) -> None:
        """Bring versions' bytes into memory, where there is any for it; blocks."""
        self._objects.warm(where for version in versions for where in version.copy.ranges)
