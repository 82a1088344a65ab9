"""Reads of segments and files (ports.objects.Objects).

What the page cache holds is read at once, on the caller's thread; RWF_NOWAIT tells, so that an event loop never
waits for a disk. Elsewhere than on Linux every read goes to a thread.
"""

import contextlib
import errno
import mmap
import os
from collections import OrderedDict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Lock

from imagerepo.adapters.segments import generation
from imagerepo.adapters.segments.generation import RUN, Generation
from imagerepo.errors import DamagedError
from imagerepo.model.instance import Range

_GAP = 64 << 10  # bytes between two ranges that are brought with them: the journal's lines, and headers
_LONG = 64 << 10  # bytes
_WARMED = 8 << 20  # bytes brought in at once
_OPEN = 256  # descriptors kept
_NOWAIT = getattr(os, "RWF_NOWAIT", 0)
_WILL_NEED: int | None = getattr(os, "POSIX_FADV_WILLNEED", None)
_HUGE: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
_POPULATE_READ = 22  # madvise(2): read pages in, failing where a load would end the process; since Linux 5.14
_WOULD_WAIT = {errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS}


class _Descriptor:
    """An open file, closed when nobody uses it any more."""

    __slots__ = ("number",)

    def __init__(self, number: int) -> None:
        self.number = number

    def __del__(self) -> None:
        os.close(self.number)


@contextmanager
def _reading(where: Range) -> Generator[None]:
    """Say what could not be read where a disk fails."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise DamagedError(f"{where.key} cannot be read: {reason}; look at the disk") from error


def _too_short(where: Range) -> DamagedError:
    return DamagedError(f"{where.key} ends before byte {where.offset + where.length}; run `imagerepo audit verify`")


def _runs(ranges: Iterable[Range]) -> Iterator[Range]:
    """What lies close together as one."""
    run: Range | None = None
    for one in sorted(ranges, key=lambda where: (where.key, where.offset)):
        if run is not None and run.key == one.key and one.offset - (run.offset + run.length) <= _GAP:
            run = replace(run, length=max(run.length, one.offset + one.length - run.offset))
            continue
        if run is not None:
            yield run
        run = one
    if run is not None:
        yield run


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
        with _reading(where):
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
        with _reading(where):
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
                # It may be there already, which takes longer to find out by a walk through its pages.
                if where.length < _LONG or not self._is_at_hand(where):
                    os.posix_fadvise(self._descriptor(where).number, where.offset, where.length, _WILL_NEED)

    def _is_at_hand(self, where: Range) -> bool:
        """Whether its middle is. Its ends may be in any case: their blocks are written through the page cache."""
        middle = Range(where.store, where.key, where.offset + where.length // 2, 1)
        return self.read_at_hand(middle, memoryview(bytearray(1)))

    def warm(self, ranges: Iterable[Range]) -> None:
        """Fill the page cache through a mapping, which asks for pages as large as there are.

        Pages that a read or POSIX_FADV_WILLNEED brings are small, and are slower to read ever after. Each is looked at
        once: a virtual machine's host may have to find the memory first, and what the disk wrote there does not count.
        """
        for where in _runs(ranges):
            for start in range(where.offset, where.offset + where.length, _WARMED):
                part = Range(where.store, where.key, start, min(_WARMED, where.offset + where.length - start))
                with contextlib.suppress(DamagedError, OSError, ValueError):  # whoever reads it is told
                    self._warm(part)

    def _warm(self, where: Range) -> None:
        pages, offset = self._map(where)
        if _HUGE is not None:
            with contextlib.suppress(OSError):  # a kernel without them
                pages.madvise(_HUGE)
        pages.madvise(_POPULATE_READ)
        bytes(memoryview(pages)[offset :: mmap.PAGESIZE])

    def lend(self, where: Range) -> memoryview | None:
        """A view of the page cache itself, if that seems to hold it: else a read brings it, which holds nobody up."""
        try:
            if not self._is_at_hand(where):
                return None
            pages, offset = self._map(where)
        except (DamagedError, OSError, ValueError):
            return None
        return memoryview(pages)[offset:]

    def _map(self, where: Range) -> tuple[mmap.mmap, int]:
        """Pages that hold it and end with it, and where it begins there. Raises ValueError if the file is shorter."""
        offset = where.offset % mmap.ALLOCATIONGRANULARITY
        descriptor = self._descriptor(where).number
        start = where.offset - offset
        return mmap.mmap(descriptor, offset + where.length, offset=start, access=mmap.ACCESS_READ), offset

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
