"""Which bytes go into which object, and when: of each series a few objects are on their way, the rest waits.

What waits for one of its series to arrive goes together. So those who send different series do not wait for each
other, and those who send one share objects.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from imagerepo.adapters.bundles.bundle import Entry
from imagerepo.adapters.bundles.item import Item
from imagerepo.model.arrival import InMemory
from imagerepo.model.events import StoreRequest

_AT_ONCE: Final = 8  # objects of one process
_OF_SERIES: Final = 2  # likewise of one series
_SIZE: Final = 16 << 20  # bytes of instances after which an object is full
_INSTANCES: Final = 512  # of an object at the most

SeriesName: TypeAlias = tuple[str, str, str]
"""Institution, study, series."""


@dataclass(slots=True)
class Load:
    """What goes together: an object's instances, and those that need no bytes if these are stored."""

    series: SeriesName
    entries: list[tuple[Item, Entry]] = field(default_factory=list[tuple[Item, Entry]])
    items: list[Item] = field(default_factory=list[Item])  # all of them, in order
    size: int = 0  # bytes


@dataclass(slots=True)
class _Series:
    """A series of which something waits or is on its way."""

    waiting: deque[tuple[Item, Entry | None]] = field(default_factory=deque[tuple[Item, Entry | None]])
    under_way: int = 0


class Loading:
    """Sends objects on their way. Safe to call from any number of threads."""

    def __init__(self, send: Callable[[Load], None]) -> None:
        """`send` blocks until an object is stored or has failed, and raises nothing."""
        self._send = send
        self._pool = ThreadPoolExecutor(_AT_ONCE, "put")
        self._lock = threading.Lock()
        self._series: dict[SeriesName, _Series] = {}  # those that were served last, last
        self._under_way = 0

    def add(self, wanted: list[tuple[Item, Entry | None]]) -> None:
        """Have instances stored; without entry: one whose bytes another one brings."""
        with self._lock:
            for item, entry in wanted:
                self._series.setdefault(series_of(item), _Series()).waiting.append((item, entry))
            self._send_off()

    def later(self, work: Callable[[], None]) -> None:
        """Do something when there is time."""
        self._pool.submit(work)

    def close(self) -> None:
        """End; nothing waits any more."""
        self._pool.shutdown()

    def _send_off(self) -> None:
        for name in list(self._series):
            series = self._series[name]
            while series.waiting and series.under_way < _OF_SERIES and self._under_way < _AT_ONCE:
                series.under_way += 1
                self._under_way += 1
                self._pool.submit(self._carry, next_load(name, series.waiting))

    def _carry(self, load: Load) -> None:
        try:
            self._send(load)
        finally:
            with self._lock:
                series = self._series.pop(load.series)
                series.under_way -= 1
                self._under_way -= 1
                if series.waiting or series.under_way:
                    self._series[load.series] = series
                self._send_off()


def series_of(item: Item) -> SeriesName:
    """Of an instance."""
    request = item.request
    assert isinstance(request, StoreRequest)
    return request.caller.institution, request.attributes.study_uid, request.attributes.series_uid


def next_load(name: SeriesName, waiting: deque[tuple[Item, Entry | None]]) -> Load:
    """Take what fits into one object; a spooled instance has one of its own."""
    load = Load(name)
    left: list[tuple[Item, Entry | None]] = []
    while waiting and len(load.items) < _INSTANCES:
        item, entry = waiting.popleft()
        if entry is None:
            load.items.append(item)
        elif load.entries and not isinstance(entry.request.payload, InMemory):
            left.append((item, entry))
        elif load.entries and load.size + item.size > _SIZE:
            left.append((item, entry))
            break
        else:
            load.items.append(item)
            load.entries.append((item, entry))
            load.size += item.size
            if not isinstance(entry.request.payload, InMemory):
                break
    waiting.extendleft(reversed(left))
    return load
