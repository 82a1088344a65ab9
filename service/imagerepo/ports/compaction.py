"""What arrived bit by bit, put together once nothing more comes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from imagerepo.model.uids import Uid


@dataclass(frozen=True, slots=True)
class Grown:
    """A series that something was stored to, or deleted from, some time ago and not since."""

    key: int  # of the series; in their order they are looked at
    at: int  # when, in microseconds since 1970, UTC
    institution: str
    study_uid: Uid
    series_uid: Uid


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the compaction of a series is after a step."""

    is_done: bool
    damaged: Mapping[int, str]  # objects that are there and cannot be copied, and why


class Compaction(Protocol):
    """Makes few objects of many. Safe to call from any number of threads and processes, for one series too.

    Promises:
    - Whoever reads meanwhile, or looked up before where to read, reads the same bytes.
    - A step that ends anywhere leaves every version readable, and nothing that stays for good.

    All raise UnavailableError.
    """

    def quiet(self, after: int, silence: timedelta, limit: int) -> Sequence[Grown]:
        """Series in order of their keys, behind `after`, to which nothing has happened for that long."""
        ...

    def stored(self, after: int, limit: int) -> Sequence[Grown]:
        """All series in order of their keys, behind `after`, whatever has happened to them; `at` is 0."""
        ...

    def forget(self, series: Sequence[Grown]) -> None:
        """They need not be looked at any more, unless something has happened to them since."""
        ...

    def is_due(self, series: Grown) -> bool:
        """Whether some of its objects are to be put together."""
        ...

    def step(self, institution: str, study_uid: Uid, series_uid: Uid, damaged: Mapping[int, str]) -> Progress:
        """Put some of a series' objects together, in seconds.

        Args:
            institution: whose the series is.
            study_uid: of the series' study.
            series_uid: of the series; one that is gone is done.
            damaged: as the step before has it; these objects are left as they are.

        Raises:
            DamagedError: the store did not keep what was put into it; nothing has changed.
        """
        ...
