"""Looks now and then whether something answers, so that whoever asks need not wait for what does not."""

import time
from collections.abc import Callable
from typing import Final

from imagerepo.errors import UnavailableError

_PATIENCE: Final = 3.0  # seconds without an answer


class Watch:
    """What is known of one thing. `tend` is for one thread, `check` for any."""

    def __init__(self, what: str, look: Callable[[], None]) -> None:
        """`look` raises UnavailableError where `what` does not do its work; it may block."""
        self._what = what
        self._look = look
        self._said = "not asked yet"  # why not; empty: it answers
        self._asked: float | None = None  # monotonic seconds, while it is being asked

    def tend(self) -> None:
        """Look. Raises UnavailableError."""
        self._asked = time.monotonic()
        try:
            self._look()
        except UnavailableError as error:
            self._said = str(error)
            raise
        else:
            self._said = ""
        finally:
            self._asked = None

    def check(self) -> None:
        """Raise UnavailableError where it did not answer when it was last asked, or has not yet; costs nothing."""
        if self._said:
            raise UnavailableError(f"{self._what}: {self._said}")
        asked = self._asked
        if asked is not None and (waited := time.monotonic() - asked) > _PATIENCE:
            raise UnavailableError(f"{self._what}: no answer for {waited:.0f} s")
