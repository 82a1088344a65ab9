"""Stored bytes, by range."""

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

    def read_at_hand(self, where: Range) -> bytes | bytearray | None:
        """Read all of `where` if that needs no waiting (it is in memory), else None. Never blocks."""
        ...
