"""How long clients that try again go without an answer that helps."""

import threading
import time
from dataclasses import dataclass, field


@dataclass
class Outages:
    """Of any number of clients, each in a thread of its own: from the beginning of what failed to what succeeded.

    An answer that came late is one too.
    """

    found: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])  # monotonic seconds
    _since: dict[int, float] = field(default_factory=dict[int, float])
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def failed(self, begun: float) -> None:
        """What this thread began then has failed."""
        with self._lock:
            self._since.setdefault(threading.get_ident(), begun)

    def succeeded(self, begun: float) -> None:
        """What this thread began then has succeeded."""
        with self._lock:
            self.found.append((self._since.pop(threading.get_ident(), begun), time.monotonic()))

    @property
    def under_way(self) -> int:
        """How many clients have failed and not succeeded since."""
        return len(self._since)

    def longest(self, begun: float = 0.0) -> float:
        """Seconds that one lasted at the most, counted from `begun` on where it is older."""
        return max((end - max(start, begun) for start, end in self.found), default=0.0)
