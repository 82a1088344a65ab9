"""A queue and the thread that works it off: all that waits goes together.

Lots are not divided: what is in one stays together.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from imagerepo.adapters.bundles.item import Item
from imagerepo.errors import UnavailableError
from imagerepo.ports.index import POSITIONS_A_COMMIT

log = logging.getLogger(__name__)

MOST: Final = POSITIONS_A_COMMIT
"""Items that are worked on together at the most."""
MOST_BYTES: Final = 64 << 20
"""Likewise bytes, unless a single lot brings more."""


class Pump:
    """Works off lots of items in a thread of its own. Any thread may `put`."""

    def __init__(self, name: str, work: Callable[[Sequence[Item]], None]) -> None:
        """Begin; `work` is done with all that waits, over and over."""
        self._work = work
        self._waiting: deque[Sequence[Item]] = deque()
        self._changed = threading.Condition()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def put(self, lot: Sequence[Item]) -> None:
        """Have a lot worked on; at most MOST items."""
        with self._changed:
            self._waiting.append(lot)
            self._changed.notify()

    def close(self) -> None:
        """End, once nothing waits any more."""
        with self._changed:
            self._ending = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while taken := self._take():
            try:
                self._work(taken)
            except Exception as error:
                # A defect of ours: those who wait must not wait for ever.
                log.exception("commit.failed")
                for item in taken:
                    if item.result is None:
                        item.fail(UnavailableError(f"the commit failed: {error}; try again"))

    def _take(self) -> list[Item]:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ending)
            taken: list[Item] = []
            size = 0
            while self._waiting:
                more = sum(item.size for item in self._waiting[0])
                if taken and (len(taken) + len(self._waiting[0]) > MOST or size + more > MOST_BYTES):
                    break
                taken += self._waiting.popleft()
                size += more
            return taken
