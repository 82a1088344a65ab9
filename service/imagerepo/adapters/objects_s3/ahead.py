"""What is going to be read, fetched before it is asked for: several requests at once, within a bound of memory.

Ranges that wait for their turn and lie close together become one request. What nobody has read yet stays, so that
readers do not displace each other's; nothing more is fetched then, and whoever reads fetches by himself.
"""

import threading
import time
from bisect import bisect_right, insort
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from operator import attrgetter
from typing import Final

from imagerepo.errors import DamagedError, UnavailableError
from imagerepo.model.instance import Range

_FORGOTTEN: Final = 10.0  # seconds after which what was fetched for somebody makes room, though nobody read it


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of what is fetched ahead."""

    memory: int = 32 << 20  # bytes, of which those that are on their way
    in_flight: int = 8  # requests
    request: int = 2 << 20  # bytes of one request, unless a single range is longer
    gap: int = 128 << 10  # bytes between two ranges of one request: as long as a request of its own would take


@dataclass(slots=True, eq=False)
class _Run:
    """Bytes of one object, fetched or on their way."""

    where: Range
    since: float = field(default_factory=time.monotonic)
    done: threading.Event = field(default_factory=threading.Event)
    found: memoryview | None = None  # None though it is done: it could not be read
    silence: UnavailableError | None = None  # why not, if there was no answer
    unread: int = 0  # bytes

    @property
    def end(self) -> int:
        return self.where.offset + self.where.length


_Object = tuple[str, str]
_offset: Final = attrgetter("where.offset")


class ReadAhead:
    """Safe to call from any number of threads."""

    def __init__(self, fetch: Callable[[Range], memoryview], bounds: Bounds) -> None:
        """`fetch` reads all of a range; raises DamagedError, UnavailableError."""
        self._fetch = fetch
        self._bounds = bounds
        self._lock = threading.Condition()
        self._waiting: OrderedDict[Range, None] = OrderedDict()
        self._waiting_bytes = 0
        self._working = 0  # threads
        self._runs: dict[_Object, list[_Run]] = {}  # by offset
        self._order: OrderedDict[_Run, None] = OrderedDict()  # those to go first, first
        self._held = 0  # bytes

    @property
    def held(self) -> int:
        """Bytes that are kept or on their way."""
        return self._held

    def expect(self, ranges: Iterable[Range]) -> None:
        """Fetch them soon, as far as there is room; returns at once."""
        with self._lock:
            for where in ranges:
                if not where.length or self._covers(where):
                    continue
                if self._waiting_bytes + where.length > self._bounds.memory:
                    continue
                self._waiting[where] = None
                self._waiting_bytes += where.length
            begun: list[_Run] = []
            while self._working < self._bounds.in_flight and (run := self._begin()) is not None:
                self._working += 1
                begun.append(run)
        for run in begun:
            threading.Thread(target=self._work, args=(run,), name="read-ahead", daemon=True).start()

    def wait(self, ranges: Iterable[Range]) -> None:
        """Return when what was expected of them has come, or will not."""
        for where in ranges:
            with self._lock:
                while where in self._waiting:
                    self._lock.wait()
                run = self._run_at((where.store, where.key), where.offset)
            if run is not None:
                run.done.wait()

    def has(self, where: Range) -> bool:
        """Whether `fill` would begin to fill."""
        with self._lock:
            return self._run_at((where.store, where.key), where.offset) is not None

    def fill(self, where: Range, room: memoryview) -> int:
        """Fill the beginning of `room` with what was expected of `where`, waiting for it; how many bytes it was.

        Raises:
            UnavailableError: it was asked for, and there was no answer.
        """
        at = 0
        while at < where.length:
            with self._lock:
                run = self._run_at((where.store, where.key), where.offset + at)
                if run is None:
                    self._forget(where)
            if run is None:
                break
            run.done.wait()
            if run.silence is not None:
                raise UnavailableError(str(run.silence)) from run.silence
            count = self._copy(run, where, at, room)
            if not count:
                break
            at += count
        return at

    def fill_at_once(self, where: Range, room: memoryview) -> bool:
        """Likewise, all of it and without waiting, or say so."""
        at, runs = 0, list[_Run]()
        with self._lock:
            while at < where.length:
                run = self._run_at((where.store, where.key), where.offset + at)
                if run is None or run.found is None:
                    return False
                runs.append(run)
                at = run.end - where.offset
        at = 0
        for run in runs:
            at += self._copy(run, where, at, room)
        return True

    def _copy(self, run: _Run, where: Range, at: int, room: memoryview) -> int:
        found = run.found
        if found is None:
            return 0
        start = where.offset + at - run.where.offset
        count = min(where.length - at, run.where.length - start)
        room[at : at + count] = found[start : start + count]
        with self._lock:
            run.unread -= count
            if run in self._order:
                self._order.move_to_end(run)
        return count

    def _covers(self, where: Range) -> bool:
        at, end = where.offset, where.offset + where.length
        while at < end:
            run = self._run_at((where.store, where.key), at)
            if run is None:
                return where in self._waiting
            at = run.end
        return True

    def _run_at(self, of: _Object, offset: int) -> _Run | None:
        runs = self._runs.get(of, [])
        place = bisect_right(runs, offset, key=_offset) - 1
        return runs[place] if place >= 0 and offset < runs[place].end else None

    def _forget(self, where: Range) -> None:
        """Whoever reads it fetches it by himself."""
        if where in self._waiting:
            del self._waiting[where]
            self._waiting_bytes -= where.length

    def _work(self, run: _Run | None) -> None:
        while run is not None:
            try:
                run.found = self._fetch(run.where)
            except DamagedError:  # one of several ranges: whoever reads that is told
                self._lose(run)
            except UnavailableError as error:
                run.silence = error
                self._lose(run)
            finally:
                with self._lock:
                    then = self._begin()
                    self._working -= then is None
                    self._lock.notify_all()
                run.done.set()
            run = then

    def _begin(self) -> _Run | None:
        """The next request: what waits first, and what follows it closely."""
        while self._waiting:
            where, _ = self._waiting.popitem(last=False)
            wanted = where.length
            while self._waiting and self._joins(where, then := next(iter(self._waiting))):
                del self._waiting[then]
                wanted += then.length
                where = replace(where, length=max(where.length, then.offset + then.length - where.offset))
            self._waiting_bytes -= wanted
            if not self._make_room(where.length):
                self._waiting.clear()
                self._waiting_bytes = 0
                return None
            run = _Run(where, unread=wanted)
            insort(self._runs.setdefault((where.store, where.key), []), run, key=_offset)
            self._order[run] = None
            self._held += where.length
            return run
        return None

    def _joins(self, run: Range, then: Range) -> bool:
        same = (run.store, run.key) == (then.store, then.key)
        gap = then.offset - (run.offset + run.length)
        whole = then.offset + then.length - run.offset
        return same and 0 <= gap <= self._bounds.gap and whole <= self._bounds.request

    def _make_room(self, length: int) -> bool:
        """Whether there is room for so many bytes, after what is not needed any more has gone."""
        forgotten = time.monotonic() - _FORGOTTEN
        for run in list(self._order):
            if self._held + length <= self._bounds.memory:
                break
            if run.done.is_set() and (run.unread <= 0 or run.since < forgotten):
                self._drop(run)
        return self._held + length <= self._bounds.memory

    def _lose(self, run: _Run) -> None:
        with self._lock:
            self._drop(run)

    def _drop(self, run: _Run) -> None:
        del self._order[run]
        self._held -= run.where.length
        of = (run.where.store, run.where.key)
        self._runs[of].remove(run)
        if not self._runs[of]:
            del self._runs[of]
