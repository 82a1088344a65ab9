"""The journal, read back and proved."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found: nothing broken."""

    entries: int
    chains: int
    anchored: int | None  # signed roots that were found in the chains; None without anchor
    anchored_at: datetime | None = None  # when the last of them was signed, aware; None: that is not told
    lost: int = 0  # signed roots of entries that went when the database was set back, as was acknowledged


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

    def verify_copy(self) -> Verified:
        """Verify the copy of the journal that lies in other storage, and that it has what the journal has.

        Raises:
            SettingsError: there is none.
            DamagedError: names the first broken link, or where they differ.
        """
        ...


class Roots(Protocol):
    """Where the chains stand, signed and put where it cannot be rewritten."""

    def sign(self) -> None:
        """Add where they stand now, durably. Raises OSError, DamagedError."""
        ...
