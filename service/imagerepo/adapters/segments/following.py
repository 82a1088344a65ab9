"""Reading what was committed behind the writers, for who follows it.

The index says how far each segment's commits have rows: up to there it is read. Nothing is noted for it at ingest, and
nothing can be missed: neither a commit that became visible after a later one, nor one that a start has replayed.
"""

import logging
import os
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from imagerepo.adapters.index_sql.engine import INDEX, PerThread, connect
from imagerepo.adapters.segments import catalog, lines
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.catalog import Segment
from imagerepo.adapters.segments.format import RECORD_HEADER, Kind
from imagerepo.adapters.segments.writer import FOLDER
from imagerepo.errors import DamagedError, UnavailableError
from imagerepo.ports.feed import Mark

log = logging.getLogger(__name__)

_WRITERS: Final = "SELECT DISTINCT writer FROM chain ORDER BY writer"
# A digit is below a colon: these are a writer's segments, in order of their numbers.
_LAST: Final = "SELECT name, applied FROM segment WHERE name >= ? AND name < ? ORDER BY name DESC LIMIT 1"
_NEXT: Final = "SELECT name, applied FROM segment WHERE name >= ? AND name < ? ORDER BY name LIMIT 2"


@dataclass(frozen=True, slots=True)
class Followed:
    """A commit, or where there is none the end of what a segment has."""

    number: int  # of the commit; of the one before, where there is none
    journal: Sequence[bytes]  # its lines
    place: str  # for messages
    behind: Mark


class Following:
    """Reads a data folder's segments. Safe to use from any number of threads."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._connections = PerThread(lambda: connect(data / INDEX))
        self._known: dict[str, Segment] = {}  # by writer, the one last read

    def writers(self) -> list[str]:
        """All that have ever committed."""
        return [row[0] for row in self._rows(_WRITERS)]

    def last(self, writer: str) -> Mark | None:
        """Behind all of a writer's commits that are visible now."""
        rows = self._rows(_LAST, *_bounds(writer))
        return Mark(*rows[0]) if rows else None

    def knows(self, mark: Mark) -> bool:
        """Whether a mark is behind a commit of this folder, as far as its segment can be read."""
        rows = self._rows("SELECT applied FROM segment WHERE name = ?", mark.segment)
        if not rows or not 0 <= mark.position <= rows[0][0]:
            return False
        if mark.position in {0, rows[0][0]}:
            return True
        try:
            segment = catalog.examine(self._data / FOLDER / mark.segment)
            descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, DamagedError):
            return True
        try:
            head = os.pread(descriptor, RECORD_HEADER, mark.position)
            return (
                not segment.is_readable or segment_format.parse_record(head, segment.seal, mark.position) is not None
            )
        finally:
            os.close(descriptor)

    def commits(self, writer: str, mark: Mark | None) -> Generator[Followed]:
        """A writer's commits that are visible, in order, from a mark on; None: from the first."""
        begin, end = _bounds(writer)
        at = mark or Mark(begin, 0)
        number = 0
        while True:
            # One statement, one state: a segment that has a later one beside it here gets no further commit.
            rows = self._rows(_NEXT, at.segment, end)
            if rows and rows[0] == (at.segment, at.position):
                rows = rows[1:]
            if not rows:
                return
            name, applied = rows[0]
            position = at.position if name == at.segment else 0
            if position >= applied and name == at.segment:
                return
            for found in self._read(writer, Mark(name, position), applied):
                number = found.number
                yield found
            at = Mark(name, applied)
            yield Followed(number, (), "", at)

    def _read(self, writer: str, mark: Mark, applied: int) -> Generator[Followed]:
        """Commits of a segment from a mark on, up to what has rows."""
        try:
            segment = self._segment(writer, mark.segment)
            if not segment.is_readable:
                return
            descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, DamagedError) as error:
            # What is lost has been reported at the start; it is not to keep what comes after it.
            log.error("feed.segment_lost", extra={"segment": mark.segment, "reason": str(error)})  # noqa: TRY400 - all is said
            return
        try:
            for record in segment_format.records(descriptor, segment.seal, mark.position, applied):
                if record.kind is not Kind.COMMIT:
                    continue
                body = segment_format.read_payload(descriptor, record)
                if body is not None:
                    place = f"{mark.segment} at byte {record.offset}"
                    try:
                        _, journal = lines.parse_body(body, place)
                    except DamagedError as error:
                        log.error("feed.commit_damaged", extra={"reason": str(error)})  # noqa: TRY400 - the reason names the place
                        continue
                    yield Followed(record.number, journal, place, Mark(mark.segment, record.end))
        finally:
            os.close(descriptor)

    def _segment(self, writer: str, name: str) -> Segment:
        known = self._known.get(writer)
        if known is None or known.path.name != name:
            known = self._known[writer] = catalog.examine(self._data / FOLDER / name)
        return known

    def _rows(self, query: str, *values: str) -> list[Any]:
        return self._connections.get().execute(query, values).fetchall()


def _bounds(writer: str) -> tuple[str, str]:
    return f"{writer}-", f"{writer}-:"


@contextmanager
def readable() -> Generator[None]:
    """What reads meanwhile raises UnavailableError if it cannot be read."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise UnavailableError(f"what was committed cannot be followed: {error}") from error
