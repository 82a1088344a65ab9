"""Reads of segments and files (ports.objects.Objects).

What the page cache holds is read at once, on the caller's thread; RWF_NOWAIT tells, so that an event loop never
waits for a disk. Elsewhere than on Linux every read goes to a thread.
"""

import contextlib
import errno
import mmap
import os
from collections import OrderedDict
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from imagerepo.adapters.segments import generation
from imagerepo.adapters.segments.generation import RUN, Generation
from imagerepo.errors import DamagedError
from imagerepo.model.instance import Range

_OPEN = 256  # descriptors kept
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_WILL_NEED: int | None = getattr(os, "POSIX_FADV_WILLNEED", None)
_WOULD_WAIT = {errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS}


class _Descriptor:
    """An open file, closed when nobody uses it any more."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


def _too_short(where: Range) -> DamagedError:
    return DamagedError(f"{where.key} ends before byte {where.offset + where.length}; run `imagerepo audit verify`")


class LocalObjects:
    """Reads ranges of the data folder's files."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._lock = Lock()
        self._descriptors: OrderedDict[str, _Descriptor] = OrderedDict()
        self._can_try = bool(_NOWAIT)
        self._generation = Generation(data / RUN / generation.FILE)

    def read(self, where: Range) -> bytes:
        """Read all of `where`; blocks. Raises DamagedError."""
        descriptor = self._descriptor(where)
        found = os.pread(descriptor.number, where.length, where.offset)
        while len(found) < where.length:
            more = os.pread(descriptor.number, where.length - len(found), where.offset + len(found))
            if not more:
                raise _too_short(where)
            found += more
        return found

    def read_into(self, where: Range, room: memoryview) -> None:
        """Fill `room` with all of `where`; blocks. Raises DamagedError."""
        descriptor = self._descriptor(where)
        done = 0
        while done < where.length:
            count = os.preadv(descriptor.number, [room[done:]], where.offset + done)
            if not count:
                raise _too_short(where)
            done += count

    def read_at_hand(self, where: Range, room: memoryview) -> bool:
        """Fill `room` with all of `where` if the page cache holds it."""
        if not self._can_try:
            return False
        descriptor = self._descriptor(where)
        try:
            return os.preadv(descriptor.number, [room], where.offset, _NOWAIT) == where.length
        except OSError as error:
            if error.errno not in _WOULD_WAIT:
                raise
            self._can_try = error.errno == errno.EAGAIN
            return False

    def expect(self, ranges: Iterable[Range]) -> None:
        """Have the page cache filled with what is going to be read."""
        if _WILL_NEED is None:
            return
        for where in ranges:
            with contextlib.suppress(DamagedError, OSError):  # whoever reads it is told
                os.posix_fadvise(self._descriptor(where).number, where.offset, where.length, _WILL_NEED)

    def generation(self) -> int:
        """How often bytes of what was deleted began to be given back."""
        return self._generation.now()

    @contextmanager
    def mapped(self, where: Range) -> Generator[memoryview]:
        """A view of `where`, for what is too large to hold."""
        with (
            mmap.mmap(self._descriptor(where).number, 0, access=mmap.ACCESS_READ) as whole,
            memoryview(whole) as view,
            view[where.offset : where.offset + where.length] as part,
        ):
            yield part

    def _descriptor(self, where: Range) -> _Descriptor:
        with self._lock:
            found = self._descriptors.get(where.key)
            if found is not None:
                self._descriptors.move_to_end(where.key)
                return found
            try:
                found = _Descriptor(os.open(self._data / where.key, os.O_RDONLY | os.O_CLOEXEC))
            except FileNotFoundError as error:
                raise DamagedError(f"{where.key} is missing from the data folder") from error
            self._descriptors[where.key] = found
            if len(self._descriptors) > _OPEN:
                self._descriptors.popitem(last=False)
            return found
