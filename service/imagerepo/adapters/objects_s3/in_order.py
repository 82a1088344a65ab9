"""Many small objects, read in order, some of them ahead of who takes them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

_AHEAD: Final = 16  # that are read at once

Name = TypeVar("Name")
Content = TypeVar("Content")


def in_order(names: Iterable[Name], read: Callable[[Name], Content]) -> Iterator[tuple[Name, "Future[Content]"]]:
    """Each with what `read` returns or raises; it is called in threads."""
    with ThreadPoolExecutor(_AHEAD, "in-order") as pool:
        waiting: deque[tuple[Name, Future[Content]]] = deque()
        try:
            for name in names:
                waiting.append((name, pool.submit(read, name)))
                if len(waiting) > _AHEAD:
                    yield waiting.popleft()
            while waiting:
                yield waiting.popleft()
        finally:
            pool.shutdown(cancel_futures=True)
