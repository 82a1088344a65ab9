"""A request asked until it is done, or it is plain that it will not be.

Asking again is bounded in three ways: by the time that one request may take in all, by growing pauses of random
length, and by a budget that all requests of a process share, so that gateways which are slow are not asked twice by
everybody. What waits for a gateway to come back asks nothing meanwhile and needs none of the budget.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

from imagerepo.adapters.objects_s3 import failures
from imagerepo.adapters.objects_s3.failures import Failed, Failure
from imagerepo.adapters.objects_s3.gateways import Gateways
from imagerepo.errors import UnavailableError

WITHIN: Final = 15.0
"""Seconds after which nothing is asked again."""
_FIRST_PAUSE: Final = 0.05  # seconds
_LONGEST_PAUSE: Final = 1.0  # seconds
_SAVED: Final = 64.0  # requests asked again when nothing went wrong for long
_SHARE: Final = 0.2  # and one more for so many that were done

T = TypeVar("T")


class NotDoneError(Exception):
    """A request was answered, and asking again would not change the answer."""

    def __init__(self, failed: Failed, *, in_doubt: bool) -> None:
        super().__init__(failed.said)
        self.failure = failed.failure
        self.said = failed.said
        self.in_doubt = in_doubt  # it was asked before, without an answer: it may have been done then


class _Budget:
    """How many requests may be asked again."""

    def __init__(self) -> None:
        self._left = _SAVED
        self._lock = threading.Lock()

    def earn(self) -> None:
        with self._lock:
            self._left = min(_SAVED, self._left + _SHARE)

    def spend(self) -> bool:
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True


class Attempts:
    """Asks gateways; safe to call from any number of threads."""

    def __init__(self, gateways: Gateways) -> None:
        self._gateways = gateways
        self._budget = _Budget()

    def until_done(self, ask: Callable[[str], T]) -> T:
        """What `ask` returns of one of the gateways; blocks for `WITHIN` and the time that one request takes.

        Args:
            ask: asks the gateway of that URL; raises one of `failures.ERRORS`. May be called again.

        Raises:
            NotDoneError: the answer is no.
            UnavailableError: there was no answer in time; it may have been done.
        """
        deadline = time.monotonic() + WITHIN
        pause, in_doubt = _FIRST_PAUSE, False
        tried: set[str] = set()
        while True:
            url = self._gateways.choose(tried, deadline)
            try:
                done = ask(url)
            except failures.ERRORS as error:
                found, cause = failures.failed(error), error
            else:
                self._gateways.answered()
                self._budget.earn()
                return done
            if not found.failure.passes:
                self._gateways.answered()
                raise NotDoneError(found, in_doubt=in_doubt) from cause
            in_doubt = in_doubt or found.failure.in_doubt
            tried.add(url)
            self._look_at(url, found)
            tired = found.failure is not Failure.UNREACHABLE and not self._budget.spend()
            if tired or time.monotonic() + pause >= deadline:
                raise UnavailableError(
                    f"S3 at {url} does not do what it is asked ({found.said}); see whether Ceph is healthy"
                ) from cause
            time.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - spreads requests, keeps no secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _look_at(self, url: str, found: Failed) -> None:
        if found.failure is Failure.UNREACHABLE:
            self._gateways.lost(url, found.said)
        elif found.failure in {Failure.SILENT, Failure.CUT}:
            self._gateways.doubt(url, found.said)
