"""One writer's segment: append, flush, begin the next.

A segment takes a commit record only when the flush of the commit before it has returned, so that after a loss
of power only the last commit of a segment can be in doubt.
"""

import errno
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.append import AppendFile, Stages
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


@dataclass(slots=True)
class _Segment:
    """The open segment."""

    name: str
    seal: bytes
    file: AppendFile
    end: int  # bytes given to records
    flushed: int  # all before this is durable


class SegmentWriter:
    """Appends to segments of its own. For one thread at a time."""

    def __init__(self, data: Path, writer: str, segment_size: int, indexed: int) -> None:
        """Begin after the writer's last segment, which is never appended to again: its end may be torn.

        Args:
            data: the data folder.
            writer: names its segments.
            segment_size: bytes after which a further one is begun.
            indexed: number of the last one that the index knows, 0 if none. It may be lost: then rows still name its
                bytes, and nothing else may come to lie there.
        """
        self._folder = data / FOLDER
        self.writer = writer
        self._segment_size = segment_size
        numbers = [
            segment_format.parse_segment_name(path.name)[1]
            for path in self._folder.glob(f"{writer}-*{segment_format.SUFFIX}")
        ]
        self._number = max([*numbers, indexed])
        self._stages = Stages()
        self._segment: _Segment | None = None
        self._waiting: list[Buffer] = []  # small records up to the open segment's end, written in one go

    @property
    def name(self) -> str:
        """The open segment's file name."""
        return self._open().name

    @property
    def key(self) -> str:
        """The open segment's key; '' if none is open."""
        segment = self._segment
        return f"{FOLDER}/{segment.name}" if segment is not None else ""

    def prepare(self) -> None:
        """Have an open segment with room. Raises UnavailableError."""
        segment = self._segment
        if segment is None or segment.flushed >= self._segment_size:
            self._segment = self._begin()

    def _begin(self) -> _Segment:
        number = self._number + 1
        name = segment_format.segment_name(self.writer, number)
        seal = segment_format.new_seal()
        head = segment_format.segment_header(self.writer, number, seal)
        path = self._folder / name
        try:
            file = AppendFile(path, self._stages)
            file.write_all([head], 0)
            os.fdatasync(file.descriptor)
            sync_folder(self._folder)
        except OSError as error:
            if isinstance(error, FileExistsError):
                self._number = number  # another's: it is left alone
            else:
                with suppress(OSError):
                    path.unlink(missing_ok=True)
            raise unavailable(error, "begin a segment") from error
        self._number = number
        return _Segment(name, seal, file, len(head), len(head))

    def data(self, buffers: Sequence[Buffer], size: int, crc32: int) -> Range:
        """Append one large Part 10 file; it does not exist until a commit names it. Raises UnavailableError."""
        segment = self._open()
        assert not self._waiting  # they get their places after what is large
        header = segment_format.record_header(Kind.DATA, segment.seal, size, 0, crc32)
        offset = segment.end
        try:
            segment.file.write_all([header, *buffers], offset)
        except OSError as error:
            self._cut(segment, offset)
            raise unavailable(error, "write an instance") from error
        segment.end += len(header) + size
        return Range(STORE, f"{FOLDER}/{segment.name}", offset + len(header), size)

    def small_data(self, buffers: Sequence[Buffer], size: int, crc32: int) -> Range:
        """Likewise a small one; it is written with the commit."""
        segment = self._open()
        header = segment_format.record_header(Kind.DATA, segment.seal, size, 0, crc32)
        offset = segment.end
        self._wait(segment, [header, *buffers])
        return Range(STORE, f"{FOLDER}/{segment.name}", offset + len(header), size)

    def commit(self, number: int, body: bytes) -> int:
        """Append a commit and make everything before it durable; the position after it.

        Raises:
            UnavailableError: nobody will find the commit.
        """
        segment = self._open()
        header = segment_format.record_header(Kind.COMMIT, segment.seal, len(body), number, checksum.crc32(body, 0))
        self._wait(segment, [header, body])
        waiting, self._waiting = self._waiting, []
        start = segment.end - sum(map(len, waiting))
        try:
            segment.file.write_all(waiting, start)
        except OSError as error:
            if not self._cut(segment, start):
                # Half a commit may lie amid the segment: there it is taken for damage, at the end it is not.
                self.retire()
            raise unavailable(error, "write a commit") from error
        try:
            os.fdatasync(segment.file.descriptor)
        except OSError as error:
            # What the kernel could not write it may have dropped: a second fdatasync would lie. Nor may a restart
            # find in the page cache what was answered as failed.
            with suppress(OSError):
                os.ftruncate(segment.file.descriptor, segment.flushed)
            self.retire()
            raise unavailable(error, "flush a segment") from error
        segment.flushed = segment.end
        return segment.end

    def abandon(self) -> None:
        """Forget the small records that were not written."""
        if self._segment is not None:
            self._segment.end -= sum(map(len, self._waiting))
        self._waiting = []

    def retire(self) -> None:
        """Append no more to this segment."""
        self._segment = None
        self._waiting = []

    def _open(self) -> _Segment:
        assert self._segment is not None
        return self._segment

    def _wait(self, segment: _Segment, buffers: Sequence[Buffer]) -> None:
        self._waiting += buffers
        segment.end += sum(map(len, buffers))

    @staticmethod
    def _cut(segment: _Segment, end: int) -> bool:
        """Take back what was written in part from `end` on; whether the file could be cut there."""
        segment.end = end
        try:
            os.ftruncate(segment.file.descriptor, end)
        except OSError:
            return False
        return True
