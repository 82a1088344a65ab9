"""Follow what changed by reading the segments of all writers together (ports.feed.ChangeFeed).

Commits are told in the order of their numbers, only as far as none with a lower number can still become visible. In a
study numbers follow each other as it changes: nothing of it takes off while a deletion is in flight, nor the other
way round (numbers.py).
"""

import heapq
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from operator import itemgetter
from pathlib import Path
from threading import Lock

from imagerepo.adapters.segments.changed import MOST_COMMITS, UNKNOWN, Gathered, changes
from imagerepo.adapters.segments.following import Followed, Following, readable
from imagerepo.adapters.segments.numbers import Numbers
from imagerepo.errors import DamagedError, ForgottenError
from imagerepo.model.change import Change
from imagerepo.ports.feed import PASSED, ChangePage, Mark, Marks

log = logging.getLogger(__name__)


class SegmentChangeFeed:
    """Reads the segments of a data folder on which a server runs."""

    def __init__(self, data: Path, state: Path) -> None:
        """`state` is the file that numbers.Numbers.create made."""
        self._following = Following(data)
        self._numbers = Numbers(state, 0)
        self._lock = Lock()  # one thread at a time may ask for numbers

    def close(self) -> None:
        """Let go of the state; nobody may ask any more."""
        self._numbers.close()

    def now(self, institution: str) -> Marks:  # noqa: ARG002 - segments are those of all
        """Behind all that is visible now."""
        with readable():
            found = {writer: self._following.last(writer) for writer in self._following.writers()}
        return {PASSED: Mark("", 0), **{writer: mark for writer, mark in found.items() if mark is not None}}

    def since(self, institution: str, marks: Marks, limit: int) -> ChangePage:
        """What changed after `marks`."""
        page = Gathered(marks, limit)
        with readable(), ExitStack() as opened:
            # Looked up first: whatever has a number up to this one is visible by the time that it is read.
            horizon = self._horizon()
            for looked_at, (number, writer, one) in enumerate(self._in_order(marks, opened)):
                if page.is_full or looked_at >= MOST_COMMITS:
                    return page.page(more=True)
                if number > horizon:
                    break
                if not page.take(number, _changes(one, institution), writer, one.behind):
                    return page.page(more=True)
        return page.page(more=False)

    def stamps(self, institutions: Sequence[str]) -> Mapping[str, str]:
        """One for all: how far commits are visible."""
        with readable():
            return dict.fromkeys(institutions, str(self._horizon()))

    def _horizon(self) -> int:
        with self._lock, self._numbers.locked():
            return self._numbers.visible()

    def _in_order(self, marks: Marks, opened: ExitStack) -> Iterator[tuple[int, str, Followed]]:
        """Commits of all writers in the order of their numbers."""
        ways: list[Iterator[tuple[int, str, Followed]]] = []
        for writer in self._following.writers():
            mark = marks.get(writer)
            if mark is not None and not (mark.segment.startswith(f"{writer}-") and self._following.knows(mark)):
                raise ForgottenError(UNKNOWN)
            ways.append(_of(writer, opened.enter_context(closing(self._following.commits(writer, mark)))))
        return heapq.merge(*ways, key=itemgetter(0))


def _of(writer: str, commits: Generator[Followed]) -> Iterator[tuple[int, str, Followed]]:
    return ((one.number, writer, one) for one in commits)


def _changes(one: Followed, institution: str) -> list[Change]:
    try:
        return list(changes(one.journal, institution, one.number, one.place))
    except DamagedError as error:
        log.error("feed.commit_damaged", extra={"reason": str(error)})  # noqa: TRY400 - the reason names the place
        return []
