"""The audit's intervals in memory: of one process, for tests and trials."""

from dataclasses import dataclass
from threading import Lock

from imagerepo.ports.intervals import Entered, State


@dataclass(slots=True)
class _Interval:
    until: float  # monotonic seconds
    reads: int
    durable: bool


class MemoryIntervals:
    """ports.intervals.Intervals."""

    def __init__(self) -> None:
        self._open: dict[bytes, _Interval] = {}
        self._lock = Lock()

    def enter(self, name: bytes, now: float, length: float) -> Entered:
        """Count a read."""
        with self._lock:
            known = self._open.get(name)
            if known is None or known.until <= now:
                self._open[name] = _Interval(now + length, 1, durable=False)
                return Entered(State.FIRST, now + length, 0 if known is None else known.reads)
            known.reads += 1
            return Entered(State.OPEN if known.durable else State.OPENING, known.until)

    def opened(self, name: bytes, until: float) -> None:
        """The entry is durable."""
        with self._lock:
            known = self._open.get(name)
            if known is not None and known.until == until:
                known.durable = True

    def close(self, name: bytes, until: float) -> int:
        """End an interval."""
        with self._lock:
            known = self._open.get(name)
            if known is None or known.until != until:
                return 0
            del self._open[name]
            return known.reads
