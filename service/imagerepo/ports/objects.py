"""Stored bytes, by range."""

from collections.abc import Iterable
from typing import Protocol

from imagerepo.model.instance import Range


class Objects(Protocol):
    """Reads ranges of stored objects. Safe to call from any number of threads."""

    def read(self, where: Range) -> bytes:
        """Read all of `where`; blocks.

        Raises:
            DamagedError: the object is missing or shorter than its row says.
        """
        ...

    def read_into(self, where: Range, room: memoryview) -> None:
        """Fill `room`, which is as long as `where`; blocks. Raises DamagedError."""
        ...

    def read_at_hand(self, where: Range, room: memoryview) -> bool:
        """Likewise if that needs no waiting (it is in memory); else say so, `room` being undefined. Never blocks."""
        ...

    def lend(self, where: Range) -> memoryview | None:
        """A view of `where` to be handed to the kernel, which sends from it without a copy; does not wait for a disk.

        It must not be looked at: where the disk fails now, the kernel tells whoever sends, but a look would end the
        process. Valid as long as it is referred to; what it shows may go as `generation` says, also after it was lent.
        None: it is not at hand, or cannot be lent; then it is to be read.
        """
        ...

    def generation(self) -> int:
        """A number that grows before bytes of anything that was deleted go; costs nothing.

        Bytes that were read while it stayed what it was before their version was looked up are that version's.
        """
        ...

    def expect(self, ranges: Iterable[Range]) -> None:
        """Have what is going to be read brought nearer; returns before it is, and raises nothing."""
        ...

    def warm(self, ranges: Iterable[Range]) -> None:
        """Bring what may be read soon into memory, where there is any for it; blocks, and raises nothing.

        For a process that nobody waits for: a disk that fails may end it.
        """
        ...
