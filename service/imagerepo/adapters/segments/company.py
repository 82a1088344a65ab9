"""How long a commit waits for company: those who share a flush share its cost.

Senders in step, each sending its next instance once the last one is acknowledged, otherwise commit one by one in turn.
A commit waits for as many as came lately, at most half as long as a commit takes; where waiting did not help, it is
not tried again for a while.
"""

from collections.abc import Sized
from threading import Event

_LONGEST = 0.001  # seconds
_SMOOTHING = 0.2  # share of the newest duration in the mean
_MOST_SKIPPED = 64


class Company:
    """Decides for the leader of a writer's commits. Any thread may call `arrived`; the rest is the leader's."""

    def __init__(self) -> None:
        self._expected = 1
        self._duration = 0.0  # seconds that commits take, smoothed
        self._enough = Event()
        self._skip = 0  # commits that will not wait
        self._skipped = 1  # how many to skip after the next time in vain

    def arrived(self, waiting: int) -> None:
        """One more waits to be committed."""
        if waiting >= self._expected:
            self._enough.set()

    def wait(self, waiting: Sized) -> None:
        """Wait for the others, if that seems worth while."""
        if len(waiting) >= self._expected:
            return
        if self._skip:
            self._skip -= 1
            return
        self._enough.clear()
        if len(waiting) < self._expected:
            self._enough.wait(min(self._duration / 2, _LONGEST))
        if len(waiting) >= self._expected:
            self._skipped = 1
        else:
            self._skip = self._skipped
            self._skipped = min(self._skipped * 2, _MOST_SKIPPED)

    def committed(self, present: int, duration: float) -> None:
        """A commit took so many seconds; so many were in it or came meanwhile."""
        self._expected = present
        self._duration += (duration - self._duration) * _SMOOTHING
