"""Follow what is committed by reading the segments behind the writers (ports.feed.Feed).

The index says how far each segment's commits have rows: up to there it is read. Nothing is noted for it at ingest, and
nothing can be missed: neither a commit that became visible after a later one, nor one that a start has replayed.
"""

import logging
import os
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.segments import catalog, lines
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.arrivals import arrived
from imagerepo.adapters.segments.catalog import Segment
from imagerepo.adapters.segments.format import Kind
from imagerepo.adapters.segments.writer import FOLDER
from imagerepo.errors import DamagedError, UnavailableError
from imagerepo.ports.feed import Arrived, Mark, Marks, Page

log = logging.getLogger(__name__)

_PAGE: Final = 500  # versions after which a page ends
_WRITERS: Final = "SELECT DISTINCT writer FROM chain ORDER BY writer"
# A digit is below a colon: these are a writer's segments, in order of their numbers.
_LAST: Final = "SELECT name, applied FROM segment WHERE name >= ? AND name < ? ORDER BY name DESC LIMIT 1"
_NEXT: Final = "SELECT name, applied FROM segment WHERE name >= ? AND name < ? ORDER BY name LIMIT 2"


@dataclass(slots=True)
class _Reached:
    """How far a page has come."""

    marks: dict[str, Mark]
    arrived: list[Arrived]

    @property
    def full(self) -> bool:
        return len(self.arrived) >= _PAGE


class SegmentFeed:
    """Reads the segments of a data folder."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._connection = connect(data / INDEX)
        self._known: dict[str, Segment] = {}  # by writer, the one last read

    def now(self) -> Marks:
        """Behind all that is visible now."""
        with _readable():
            return {writer: Mark(*self._rows(_LAST, *_bounds(writer))[0]) for writer in self._writers()}

    def since(self, marks: Marks) -> Page:
        """What became visible after `marks`."""
        reached = _Reached(dict(marks), [])
        with _readable():
            for writer in self._writers():
                self._follow(writer, reached)
                if reached.full:
                    break
        return Page(reached.arrived, reached.marks, reached.full)

    def _writers(self) -> list[str]:
        return [row[0] for row in self._rows(_WRITERS)]

    def _follow(self, writer: str, reached: _Reached) -> None:
        begin, end = _bounds(writer)
        while not reached.full:
            mark = reached.marks.get(writer, Mark(begin, 0))
            # One statement, one state: a segment that has a later one beside it here gets no further commit.
            rows = self._rows(_NEXT, mark.segment, end)
            if rows and rows[0] == (mark.segment, mark.position):
                rows = rows[1:]
            if not rows:
                return
            name, applied = rows[0]
            position = mark.position if name == mark.segment else 0
            if position >= applied and name == mark.segment:
                return
            self._read(writer, Mark(name, position), applied, reached)

    def _read(self, writer: str, mark: Mark, applied: int, reached: _Reached) -> None:
        """Read commits of a segment from a mark on, up to what has rows."""
        reached.marks[writer] = Mark(mark.segment, applied)
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
                    reached.arrived.extend(_arrived(body, f"{mark.segment} at byte {record.offset}"))
                if reached.full:
                    reached.marks[writer] = Mark(mark.segment, record.end)
                    return
        finally:
            os.close(descriptor)

    def _segment(self, writer: str, name: str) -> Segment:
        known = self._known.get(writer)
        if known is None or known.path.name != name:
            known = self._known[writer] = catalog.examine(self._data / FOLDER / name)
        return known

    def _rows(self, query: str, *values: str) -> list[Any]:
        return self._connection.execute(query, values).fetchall()


def _bounds(writer: str) -> tuple[str, str]:
    return f"{writer}-", f"{writer}-:"


def _arrived(body: bytes, place: str) -> Iterator[Arrived]:
    try:
        head, journal = lines.parse_body(body, place)
        yield from arrived(journal, head.number, place)
    except DamagedError as error:
        log.error("feed.commit_damaged", extra={"reason": str(error)})  # noqa: TRY400 - the reason names the place


@contextmanager
def _readable() -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise UnavailableError(f"what was committed cannot be followed: {error}") from error
