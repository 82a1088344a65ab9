"""The journal, read back and proved."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found: nothing broken."""

    entries: int
    chains: int
    anchored: int | None  # signed roots that were found in the chains; None without anchor


class Journal(Protocol):
    """The journal of all institutions."""

    def entries(self) -> Iterator[str]:
        """Its lines, each one JSON object, in order of commit."""
        ...

    def verify(self, *, with_bytes: bool) -> Verified:
        """Verify all chains, and every instance's bytes too if `with_bytes`.

        Raises:
            DamagedError: names the first broken link, and what else is damaged.
        """
        ...


class Roots(Protocol):
    """Where the chains stand, signed and put where it cannot be rewritten."""

    def sign(self) -> None:
        """Add where they stand now, durably. Raises OSError, DamagedError."""
        ...
