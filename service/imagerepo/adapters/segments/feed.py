"""Follow what was stored by reading the segments, writer by writer (ports.feed.Feed)."""

import logging
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Final

from imagerepo.adapters.segments.arrivals import arrived
from imagerepo.adapters.segments.following import Followed, Following, readable
from imagerepo.errors import DamagedError
from imagerepo.ports.feed import Arrived, Mark, Marks, Page

log = logging.getLogger(__name__)

_PAGE: Final = 500  # versions after which a page ends


class SegmentFeed:
    """Reads the segments of a data folder."""

    def __init__(self, data: Path) -> None:
        self._following = Following(data)

    def now(self) -> Marks:
        """Behind all that is visible now."""
        with readable():
            found = {writer: self._following.last(writer) for writer in self._following.writers()}
        return {writer: mark for writer, mark in found.items() if mark is not None}

    def since(self, marks: Marks) -> Page:
        """What became visible after `marks`."""
        reached: dict[str, Mark] = dict(marks)
        found: list[Arrived] = []
        with readable():
            for writer in self._following.writers():
                with closing(self._following.commits(writer, marks.get(writer))) as commits:
                    _follow(commits, writer, found, reached)
                if len(found) >= _PAGE:
                    return Page(found, reached, more=True)
        return Page(found, reached, more=False)


def _follow(commits: Generator[Followed], writer: str, found: list[Arrived], reached: dict[str, Mark]) -> None:
    for one in commits:
        try:
            found.extend(arrived(one.journal, one.number, one.place))
        except DamagedError as error:
            log.error("feed.commit_damaged", extra={"reason": str(error)})  # noqa: TRY400 - the reason names the place
        reached[writer] = one.behind
        if len(found) >= _PAGE:
            return
