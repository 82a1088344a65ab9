"""Refused associations in the journal: the first of a sender at once, how many followed it when the interval is over.

A device that is set up wrong asks again every few seconds, and anyone may ask under any name: neither may fill the
journal, nor memory. Each process counts for itself.
"""

import threading
import time
from dataclasses import dataclass
from typing import Final, TypeAlias

from imagerepo.errors import ForbiddenError, RefusedError
from imagerepo.flows.ingest.ingest import Ingest
from imagerepo.model.caller import Caller

SENDERS: Final = 1024
"""Senders and reasons told apart at the same time; all further ones of an institution are counted together."""

_Key: TypeAlias = tuple[str, ...]


@dataclass(slots=True)
class _Window:
    """An interval that has begun with an entry."""

    caller: Caller
    reason: str  # of them all; '' if they have several
    until: float  # monotonic seconds
    more: int = 0  # refusals since the entry


class Refusals:
    """Enters refusals. Safe to call from any number of threads; blocks for a commit, once an interval and sender."""

    def __init__(self, ingest: Ingest, interval: float) -> None:
        """Assemble; `interval` in seconds."""
        self._ingest = ingest
        self._interval = interval
        self._lock = threading.Lock()
        self._windows: dict[_Key, _Window] = {}

    def enter(self, caller: Caller, error: RefusedError) -> None:
        """Enter or count an association refused for `error`."""
        now = time.monotonic()
        key: _Key = (caller.institution, caller.name, caller.address, type(error).__name__)
        with self._lock:
            crowded = key not in self._windows and len(self._windows) >= SENDERS
            if crowded:
                key = (caller.institution,)
            window = self._windows.get(key)
            if window is not None and now < window.until:
                window.more += 1
                return
            fresh = _Window(caller, str(error), now + self._interval)
            if crowded:
                fresh.caller = Caller(caller.institution, "ae:*", "*", caller.protocol, frozenset())
                fresh.reason = ""
            self._windows[key] = fresh
        self._count(window)
        self._ingest.refuse(caller, error)

    def close(self) -> None:
        """Enter the counts of intervals that are over."""
        now = time.monotonic()
        with self._lock:
            over = [key for key, window in self._windows.items() if window.until <= now]
            windows = [self._windows.pop(key) for key in over]
        for window in windows:
            self._count(window)

    def close_all(self) -> None:
        """Enter all counts."""
        with self._lock:
            windows = list(self._windows.values())
            self._windows.clear()
        for window in windows:
            self._count(window)

    def _count(self, window: _Window | None) -> None:
        if window is None or not window.more:
            return
        within = f"within {self._interval:g} seconds"
        if window.reason:
            said = f"{window.reason}; refused {window.more} times more {within}"
        else:
            said = f"{window.more} associations more {within}, of more senders than are entered one by one"
        self._ingest.refuse(window.caller, ForbiddenError(said))
