"""One writer's segment: append, flush, begin the next.

A segment takes a commit record only when the flush of the commit before it has returned, so that after a loss
of power only the last commit of a segment can be in doubt.
"""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.append import DIRECT_FROM, PastCache
from imagerepo.adapters.segments.format import Kind
from imagerepo.errors import OutOfSpaceError, UnavailableError
from imagerepo.model import checksum
from imagerepo.model.arrival import Buffer
from imagerepo.model.instance import Range

FOLDER = "segments"
STORE = "data"  # the store that the data folder is
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def unavailable(error: OSError, what: str) -> UnavailableError:
    """What a failure of the disk means to the sender."""
    if error.errno in _FULL:
        return OutOfSpaceError(f"no room left to {what}; free some space on the data folder's disk")
    return UnavailableError(f"cannot {what}: {os.strerror(error.errno or 0)}")


def sync_folder(folder: Path) -> None:
    """Make the folder's entries durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class SegmentWriter:
    """Appends to segments of its own. For one thread at a time."""

    def __init__(self, data: Path, writer: str, segment_size: int) -> None:
        """Begin after the writer's last segment, which is never appended to again: its end may be torn."""
        self._folder = data / FOLDER
        self.writer = writer
        self._segment_size = segment_size
        numbers = [
            segment_format.parse_segment_name(path.name)[1]
            for path in self._folder.glob(f"{writer}-*{segment_format.SUFFIX}")
        ]
        self._number = max(numbers, default=0)
        self._descriptor: int | None = None
        self._past_cache = PastCache()  # of the open segment
        self._end = 0
        self._flushed = 0  # all before this is durable
        self._waiting: list[Buffer] = []  # small ones, written in one go
        self._waiting_from = 0  # their offset
        self.name = ""  # of the open segment
        self._seal = b""  # likewise

    def prepare(self) -> None:
        """Have an open segment with room. Raises UnavailableError."""
        if self._descriptor is not None and self._flushed < self._segment_size:
            return
        self.retire()
        self._number += 1
        name = segment_format.segment_name(self.writer, self._number)
        self._seal = segment_format.new_seal()
        head = segment_format.segment_header(self.writer, self._number, self._seal)
        try:
            path = self._folder / name
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
            self._past_cache.open(path)
            os.pwrite(self._descriptor, head, 0)
            os.fdatasync(self._descriptor)
            sync_folder(self._folder)
        except OSError as error:
            self.retire()
            (self._folder / name).unlink(missing_ok=True)
            self._number -= 1
            raise unavailable(error, "begin a segment") from error
        self._end = self._flushed = len(head)
        self.name = name

    def data(self, buffers: Sequence[Buffer], size: int, crc32: int) -> Range:
        """Append one Part 10 file; it does not exist until a commit names it.

        A small one stays in its buffers until the commit is written.

        Raises:
            UnavailableError: it could not be written.
        """
        offset = self._end + segment_format.RECORD_HEADER
        self._append([segment_format.record_header(Kind.DATA, self._seal, size, 0, crc32), *buffers])
        return Range(STORE, f"{FOLDER}/{self.name}", offset, size)

    def commit(self, number: int, body: bytes) -> int:
        """Append a commit and make everything before it durable; the position after it.

        Raises:
            UnavailableError: the segment is retired; whether the commit will be found there is open.
        """
        header = segment_format.record_header(Kind.COMMIT, self._seal, len(body), number, checksum.crc32(body, 0))
        self._append([header, body])
        self._write_waiting()
        descriptor = self._descriptor
        assert descriptor is not None
        try:
            os.fdatasync(descriptor)
        except OSError as error:
            # What the kernel could not write it may have dropped: a second fdatasync would lie. Nor may a restart
            # find in the page cache what was answered as failed.
            self.abandon()
            self.retire()
            raise unavailable(error, "flush a segment") from error
        self._flushed = self._end
        return self._end

    def abandon(self) -> None:
        """Take back what was appended since the last flush."""
        self._waiting = []
        if self._descriptor is not None:
            try:
                os.ftruncate(self._descriptor, self._flushed)
                self._end = self._flushed
            except OSError:
                self.retire()

    def retire(self) -> None:
        """Append no more to this segment."""
        if self._descriptor is not None:
            self._past_cache.close()
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, buffers: Sequence[Buffer]) -> None:
        size = sum(map(len, buffers))
        if size >= DIRECT_FROM:
            self._write_waiting()
            self._write(buffers, self._end)
        else:
            if not self._waiting:
                self._waiting_from = self._end
            self._waiting += buffers
        self._end += size

    def _write_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._write(waiting, self._waiting_from)

    def _write(self, buffers: Sequence[Buffer], offset: int) -> None:
        assert self._descriptor is not None
        try:
            self._past_cache.write_all(self._descriptor, buffers, offset)
        except OSError as error:
            raise unavailable(error, "write an instance") from error
