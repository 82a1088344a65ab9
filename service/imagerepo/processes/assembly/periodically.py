"""What is done now and then."""

import time
from collections.abc import Callable


class Periodically:
    """Something that is tended (parts.Tended). For one thread."""

    def __init__(self, interval: float, work: Callable[[], object]) -> None:
        """`interval` in seconds; `work` raises UnavailableError."""
        self._interval = interval
        self._work = work
        self._due = 0.0  # monotonic seconds

    def tend(self) -> None:
        """Do it if it is time. Raises UnavailableError: it is tried again then."""
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._interval
            self._work()
