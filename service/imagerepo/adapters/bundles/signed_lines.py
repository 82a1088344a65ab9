"""Lines of a chain that signed roots name, 40 bytes each: a year of roots names millions.

All of them are kept, since each proves something: who has written a chain anew, and lets a server go on with it, has
the last one signed too.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import Final

from imagerepo.adapters.segments.lines import Link

_DIGEST: Final = 32  # bytes


class SignedLines:
    """In order of their numbers, each once; of one number there may be several where a database was set back."""

    def __init__(self) -> None:
        self._sequences = array("Q")
        self._digests = bytearray()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._sequences)

    def add(self, link: Link) -> None:
        """Take one more; one that is there stays."""
        if self._find(link) is not None:
            return
        at = bisect_left(self._sequences, link.sequence)
        self._sequences.insert(at, link.sequence)
        self._digests[at * _DIGEST : at * _DIGEST] = bytes.fromhex(link.digest)

    def discard(self, link: Link) -> bool:
        """Forget one; whether it was there."""
        at = self._find(link)
        if at is None:
            return False
        del self._sequences[at]
        del self._digests[at * _DIGEST : (at + 1) * _DIGEST]
        return True

    def latest_first(self) -> Iterator[Link]:
        """All of them, as they are now, from the highest number down."""
        for at in reversed(range(len(self))):
            yield self._at(at)

    def _find(self, link: Link) -> int | None:
        for at in range(bisect_left(self._sequences, link.sequence), len(self)):
            if self._sequences[at] != link.sequence:
                break
            if self._at(at) == link:
                return at
        return None

    def _at(self, at: int) -> Link:
        return Link(self._sequences[at], self._digests[at * _DIGEST : (at + 1) * _DIGEST].hex())

    def followed(self) -> "Following":
        """To go along with the chain, from its first line on."""
        return Following(self._sequences, self._digests)


class Following:
    """Goes along with a chain, and notes the first line that was signed and did not come."""

    def __init__(self, sequences: "array[int]", digests: bytearray) -> None:
        self._sequences = sequences
        self._digests = digests
        self._next = 0  # which one is awaited
        self._missing: int | None = None

    def come(self, link: Link) -> None:
        """A line of the chain came, the next one in order."""
        while self._next < len(self._sequences) and self._sequences[self._next] <= link.sequence:
            at = self._next * _DIGEST
            is_it = self._digests[at : at + _DIGEST].hex() == link.digest
            if self._missing is None and not (is_it and self._sequences[self._next] == link.sequence):
                self._missing = self._sequences[self._next]
            self._next += 1

    @property
    def missing(self) -> int | None:
        """The first number whose line did not come, or came otherwise; None: all that were signed came."""
        if self._missing is None and self._next < len(self._sequences):
            return self._sequences[self._next]
        return self._missing
