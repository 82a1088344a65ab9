"""What an import has come to: counts, and what was refused and why, within bounds."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Final

from imagerepo.model.imports import Why

SHOWN: Final = 50
"""Refusals that are kept to be shown at the end."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was not stored, though it should have been."""

    place: str
    reason: str


@dataclass(slots=True)
class Counts:
    """How many of each; bytes where it says so."""

    stored: int = 0
    already: int = 0
    refused: int = 0
    passed: Counter[Why] = field(default_factory=Counter[Why])
    stored_bytes: int = 0
    weight: int = 0  # bytes of what was to be imported that are done with, by which progress is told
    noted_weight: int = 0  # of these: of files that an earlier run has stored


class Tally:
    """Counts of an import that runs. For any thread."""

    def __init__(self, on_refusal: Callable[[Refusal], None]) -> None:
        """`on_refusal` is told each, one at a time."""
        self._on_refusal = on_refusal
        self._lock = Lock()
        self._counts = Counts()
        self._began = time.monotonic()
        self.refusals: list[Refusal] = []  # the first of them

    def add(self, more: Counts) -> None:
        """Count."""
        with self._lock:
            counts = self._counts
            counts.stored += more.stored
            counts.already += more.already
            counts.passed.update(more.passed)
            counts.stored_bytes += more.stored_bytes
            counts.weight += more.weight
            counts.noted_weight += more.noted_weight

    def refuse(self, refusal: Refusal, weight: int) -> None:
        """Enter what is not stored."""
        with self._lock:
            self._counts.refused += 1
            self._counts.weight += weight
            if len(self.refusals) < SHOWN:
                self.refusals.append(refusal)
            self._on_refusal(refusal)

    def counts(self) -> Counts:
        """A copy."""
        with self._lock:
            now = self._counts
            return Counts(
                now.stored, now.already, now.refused, Counter(now.passed), now.stored_bytes, now.weight,
                now.noted_weight,
            )  # fmt: skip

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began
