"""The embedded commit (ports.commits.Commits): one append and one flush for all that waits, then rows.

Whoever comes while a commit is under way waits; the first of those who waited carries the next commit for all.
batch.py has the steps.
"""

import os
import sqlite3
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.segments import projection
from imagerepo.adapters.segments.ahead import Ahead, Item
from imagerepo.adapters.segments.batch import Batch
from imagerepo.adapters.segments.company import Company
from imagerepo.adapters.segments.place import Place
from imagerepo.adapters.segments.spool import SpoolFile
from imagerepo.adapters.segments.writer import SegmentWriter
from imagerepo.errors import ImagerepoError, UnavailableError
from imagerepo.model.events import CommitKind, Committed, Request, StoreRequest

_MOST_BYTES = 64 << 20  # of a commit, unless a single call brings more
_PAUSE = 0.001  # seconds before asking again for an instance that another process has in flight
_UNANSWERED = Committed(CommitKind.FAILED, error=UnavailableError("the commit failed; try again"))
_PATIENCE = 5.0  # seconds until such an instance is given up


@dataclass(slots=True)
class _Call:
    """One call of `commit`, waiting."""

    items: list[Item]
    size: int  # bytes
    done: bool = False


class SegmentCommits:
    """One writer's commits. Safe to call from any number of threads."""

    def __init__(self, place: Place, state: Path) -> None:
        """Work at `place`; `state` is the file that numbers.Numbers.create made."""
        self._place = place
        with closing(connect(place.data / INDEX)) as connection:
            indexed = projection.last_segment(connection, place.writer)
        writer = SegmentWriter(place.data, place.writer, place.segment_size, indexed)
        self._ahead = Ahead(place)
        self._batch = Batch(place, writer, state)
        self._waiting: deque[_Call] = deque()
        self._leader = Lock()
        self._company = Company()

    def spool(self) -> SpoolFile:
        """Open a file for a large instance. Raises UnavailableError."""
        return SpoolFile(self._place)

    def accepts(self) -> bool:
        """Whether the disk has more free than its reserve."""
        return self._place.has_room()

    def commit(self, requests: Sequence[Request]) -> Sequence[Committed]:
        """Commit, in order; blocks."""
        items = [Item(request) for request in requests]
        for item in items:
            self._make_ready(item)
        left = [item for item in items if item.result is None]
        if left:
            self._join(
                _Call(left, sum(one.request.payload.size for one in left if isinstance(one.request, StoreRequest)))
            )
        return [item.result or _UNANSWERED for item in items]

    def _make_ready(self, item: Item) -> None:
        try:
            self._ahead.ready(item)
        except ImagerepoError as error:
            _fail([item], error)
        except sqlite3.Error as error:
            _fail([item], UnavailableError(f"the index failed: {error}"))

    def _join(self, call: _Call) -> None:
        self._waiting.append(call)
        self._company.arrived(len(self._waiting))
        while not call.done:
            with self._leader:
                if not call.done:
                    self._lead()

    def tend(self) -> None:
        """Finish a commit whose rows could not be written; to be called now and then. Raises UnavailableError."""
        with self._leader:
            self._batch.tend()

    def close(self) -> None:
        """Let go of everything; nothing may be under way."""
        with self._leader:
            self._ahead.close()
            self._batch.close()

    def _lead(self) -> None:
        self._company.wait(self._waiting)
        calls = self._take()
        started = time.perf_counter()
        try:
            self._carry([item for call in calls for item in call.items])
        finally:
            for call in calls:
                call.done = True
        self._company.committed(len(calls) + len(self._waiting), time.perf_counter() - started)

    def _take(self) -> list[_Call]:
        # Only the leader takes, so that what was seen at the front is still there.
        taken: list[_Call] = []
        size = 0
        while self._waiting and (not taken or size + self._waiting[0].size <= _MOST_BYTES):
            call = self._waiting.popleft()
            size += call.size
            taken.append(call)
        return taken

    def _carry(self, items: list[Item]) -> None:
        try:
            self._carry_all(items)
        finally:
            self._batch.give_up()

    def _carry_all(self, items: list[Item]) -> None:
        deadline = time.monotonic() + _PATIENCE
        while items:
            try:
                self._batch.run(items)
            except ImagerepoError as error:
                _fail(items, error)
            except OSError as error:
                _fail(items, UnavailableError(f"the commit failed: {os.strerror(error.errno or 0)}"))
            except sqlite3.Error as error:
                _fail(items, UnavailableError(f"the index failed: {error}"))
            except Exception:
                # A defect of ours: those who wait must not take silence for success.
                _fail(items, _UNANSWERED.error)
                raise
            items = [item for item in items if item.result is None]
            if items and time.monotonic() > deadline:
                _fail(
                    items, UnavailableError("another process has this instance or its study in flight; send it again")
                )
                return
            if items:
                time.sleep(_PAUSE)


def _fail(items: Sequence[Item], error: ImagerepoError | None) -> None:
    for item in items:
        if item.result is None:
            item.result = Committed(CommitKind.FAILED, error=error)
