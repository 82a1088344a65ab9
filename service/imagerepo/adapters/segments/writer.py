"""One writer's segment: append, flush, begin the next.

A segment takes a commit record only when the flush of the commit before it has returned, so that after a loss
of power only the last commit of a segment can be in doubt.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

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
        self._stages = Stages()
        self._lock = Lock()
        self._segment: _Segment | None = None
        self._waiting: list[tuple[int, Sequence[Buffer]]] = []  # small records, written in one go, by offset

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
        with self._lock:
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
        with self._lock:
            segment = self._segment
            if segment is None:
                segment = self._segment = self._begin()
            offset = segment.end
            segment.end += segment_format.RECORD_HEADER + size
        header = segment_format.record_header(Kind.DATA, segment.seal, size, 0, crc32)
        record = [header, *buffers]
        try:
            segment.file.write_all(record, offset)
        except OSError as error:
            self._give_back(segment, [(offset, record)])
            raise unavailable(error, "write an instance") from error
        return Range(STORE, f"{FOLDER}/{segment.name}", offset + segment_format.RECORD_HEADER, size)

    def small_data(self, buffers: Sequence[Buffer], size: int, crc32: int) -> Range:
        """Likewise a small one, in the open segment; it is written with the commit."""
        segment = self._open()
        header = segment_format.record_header(Kind.DATA, segment.seal, size, 0, crc32)
        offset = self._wait(segment, [header, *buffers])
        return Range(STORE, f"{FOLDER}/{segment.name}", offset + segment_format.RECORD_HEADER, size)

    def commit(self, number: int, body: bytes) -> int:
        """Append a commit and make everything before it durable; the position after it.

        Raises:
            UnavailableError: nobody will find the commit.
        """
        segment = self._open()
        header = segment_format.record_header(Kind.COMMIT, segment.seal, len(body), number, checksum.crc32(body, 0))
        end = self._wait(segment, [header, body]) + len(header) + len(body)
        runs, self._waiting = list(_runs(self._waiting)), []
        try:
            for offset, buffers in runs:
                segment.file.write_all(buffers, offset)
        except OSError as error:
            if not self._give_back(segment, runs):
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
        segment.flushed = end
        return end

    def abandon(self) -> None:
        """Forget the small records that were not written."""
        runs, self._waiting = list(_runs(self._waiting)), []
        if self._segment is not None:
            self._give_back(self._segment, runs)

    def retire(self) -> None:
        """Append no more to this segment."""
        self._segment = None
        self._waiting = []

    def _open(self) -> _Segment:
        assert self._segment is not None
        return self._segment

    def _wait(self, segment: _Segment, buffers: Sequence[Buffer]) -> int:
        with self._lock:
            offset = segment.end
            segment.end += sum(map(len, buffers))
        self._waiting.append((offset, buffers))
        return offset

    def _give_back(self, segment: _Segment, runs: Sequence[tuple[int, Sequence[Buffer]]]) -> bool:
        """Take back places that were not written wholly; False if they stay, since others have places behind them."""
        with self._lock:
            for offset, buffers in reversed(runs):
                if segment.end != offset + sum(map(len, buffers)):
                    return False
                segment.end = offset
            try:
                os.ftruncate(segment.file.descriptor, segment.end)
            except OSError:
                return False
            return True


def _runs(records: Sequence[tuple[int, Sequence[Buffer]]]) -> Iterator[tuple[int, list[Buffer]]]:
    """Records that follow one another, taken together: offset and buffers."""
    run: list[Buffer] = []
    start = end = 0
    for offset, buffers in records:
        if run and offset != end:
            yield start, run
            run = []
        if not run:
            start = offset
        run += buffers
        end = offset + sum(map(len, buffers))
    if run:
        yield start, run
