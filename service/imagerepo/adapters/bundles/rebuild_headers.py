"""What instances say of themselves, read from objects: their attributes, and where their pixel data lie.

Of small ones that lie together all bytes are read at once; of a large one its header and what follows its pixel data,
unless these are in fragments, whose places only they themselves tell.
"""

import logging
import mmap
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from imagerepo.adapters.segments.lines import StoreLine
from imagerepo.adapters.segments.read_back import unknown
from imagerepo.dicom import part10
from imagerepo.errors import DamagedError, RefusedError
from imagerepo.model.arrival import Buffer
from imagerepo.model.instance import Attributes, Layout, Range
from imagerepo.model.uids import Uid

log = logging.getLogger(__name__)

_TOGETHER: Final = 64 << 10  # bytes of an instance that is read with its neighbours
_AT_ONCE: Final = 16 << 20  # bytes read at once
_PIECE: Final = 4 << 20  # bytes of a large instance, read in one request
_ELEMENT: Final = 12  # bytes that the header of Pixel Data has at the most
_UNDEFINED: Final = b"\xff\xff\xff\xff"  # the length of what is in fragments (PS3.5 section A.4)
_UNREADABLE: Final = (RefusedError, DamagedError, ValueError, BufferError)

Described = tuple[Attributes, Layout]


class Headers:
    """Reads them. Safe to call from any number of threads."""

    def __init__(self, read: Callable[[Range], Buffer], scratch: Path) -> None:
        """`scratch`: a folder where a large instance may lie for a moment."""
        self._read = read
        self._scratch = scratch

    def of(self, wanted: Sequence[tuple[StoreLine, Range]]) -> Iterator[Described | None]:
        """What each says, in order; None: its bytes are not what its line says. Raises UnavailableError."""
        for group in _groups(wanted):
            if len(group) > 1:
                yield from self._of_neighbours(group)
            else:
                yield self._of_one(*group[0])

    def _of_neighbours(self, group: Sequence[tuple[StoreLine, Range]]) -> Iterator[Described | None]:
        first, last = group[0][1], group[-1][1]
        span = Range(first.store, first.key, first.offset, last.offset + last.length - first.offset)
        try:
            whole = memoryview(self._read(span))
        except DamagedError:
            yield from (self._of_one(*one) for one in group)
            return
        for line, where in group:
            start = where.offset - first.offset
            yield _described(line, whole[start : start + where.length])

    def _of_one(self, line: StoreLine, where: Range) -> Described | None:
        try:
            if where.length <= _TOGETHER:
                return _described(line, memoryview(self._read(where)))
            with (
                tempfile.TemporaryFile(dir=self._scratch) as file,
                _sheet(file.fileno(), where.length) as sheet,
                memoryview(sheet) as view,
            ):
                self._fill(line, where, view)
                return _described(line, view)
        except DamagedError as error:
            _say(line, error)
            return None

    def _fill(self, line: StoreLine, where: Range, view: memoryview) -> None:
        """Read what has to be read of a large one; the rest stays zeros."""
        begin = min(line.header_length + _ELEMENT, where.length)
        self._read_into(where, view, 0, begin)
        element = bytes(view[line.header_length : begin])
        is_native = line.header_length < where.length and _UNDEFINED not in {element[4:8], element[8:12]}
        self._read_into(where, view, max(begin, line.trailer_offset) if is_native else begin, where.length)

    def _read_into(self, where: Range, view: memoryview, start: int, end: int) -> None:
        for at in range(start, end, _PIECE):
            length = min(_PIECE, end - at)
            view[at : at + length] = memoryview(self._read(Range(where.store, where.key, where.offset + at, length)))


def _sheet(descriptor: int, size: int) -> mmap.mmap:
    """Room for so many bytes, of which none takes any until it is written."""
    os.ftruncate(descriptor, size)
    return mmap.mmap(descriptor, size)


def _described(line: StoreLine, whole: memoryview) -> Described | None:
    try:
        with whole[line.data_set_offset :] as data_set:
            return part10.read_data_set(data_set, Uid(line.transfer_syntax), line.data_set_offset)
    except _UNREADABLE as error:
        _say(line, error)
        return None


def _say(line: StoreLine, error: Exception) -> None:
    log.error("rebuild.instance_damaged", extra={"instance": line.instance_uid, "reason": str(error)})


def undescribed(line: StoreLine) -> Described:
    """All that is known of one that cannot be read: whoever asks for it is told."""
    attributes = unknown(line.study_uid, line.series_uid, line.instance_uid, line.sop_class_uid)
    return attributes, Layout(line.data_set_offset, line.header_length, line.trailer_offset, None)


def _groups(wanted: Sequence[tuple[StoreLine, Range]]) -> Iterator[list[tuple[StoreLine, Range]]]:
    """Small ones that follow each other in one object; every other one is alone."""
    group: list[tuple[StoreLine, Range]] = []
    for line, where in wanted:
        if group:
            first, last = group[0][1], group[-1][1]
            follows = where.key == last.key and where.offset >= last.offset + last.length
            is_near = where.offset + where.length - first.offset <= _AT_ONCE
            if not (follows and is_near and where.length <= _TOGETHER and last.length <= _TOGETHER):
                yield group
                group = []
        group.append((line, where))
    if group:
        yield group
