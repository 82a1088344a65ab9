"""Which segments a data folder has, and which seal the records of each bear.

The seal stands in the segment's header and in every record. Where the header is damaged the records still tell it: a
record that has its checksums proves the seal that it bears.
"""

import logging
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.format import RECORD_HEADER, SEGMENT_HEADER, Kind, Record
from imagerepo.adapters.segments.writer import FOLDER

log = logging.getLogger(__name__)

_MAGIC = re.compile(b"|".join(re.escape(kind.value) for kind in Kind))
_MAGIC_SIZE = 8  # bytes
_WINDOW = 4 << 20  # bytes looked through at a time
_CHECKED = 4  # times a segment's size: bytes that are read to check payloads, whatever senders put into theirs


class Condition(Enum):
    """What became of a segment's header."""

    WHOLE = "whole"
    BEGUN = "begun"  # when power was lost: it never took a commit
    HEADER_DAMAGED = "header damaged"  # the seal was found in the records
    LOST = "lost"  # neither header nor any record can be read


_SAID = {
    Condition.BEGUN: (logging.WARNING, "segment.empty"),
    Condition.HEADER_DAMAGED: (logging.ERROR, "segment.header_damaged"),
    Condition.LOST: (logging.ERROR, "segment.lost"),
}


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that was looked at."""

    path: Path
    condition: Condition
    seal: bytes  # empty where there is nothing to read

    @property
    def is_readable(self) -> bool:
        """Whether records may be found in it."""
        return bool(self.seal)


def paths(data: Path) -> list[Path]:
    """All segments of a data folder, in order of their names."""
    return [path for path in sorted((data / FOLDER).glob(f"*{segment_format.SUFFIX}")) if _is_ours(path)]


def _is_ours(path: Path) -> bool:
    try:
        segment_format.parse_segment_name(path.name)
    except ValueError:
        log.warning("segment.not_ours", extra={"file": path.name})
        return False
    return True


def examine(path: Path) -> Segment:
    """Look at a segment.

    Raises:
        DamagedError: it is of another format version.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        head = os.pread(descriptor, SEGMENT_HEADER, 0)
        if segment_format.is_whole_header(head):
            return Segment(path, Condition.WHOLE, segment_format.check_segment_header(head, path.name))
        size = os.fstat(descriptor).st_size
        seal = _seal_of_records(descriptor, size)
    finally:
        os.close(descriptor)
    if seal is not None:
        return Segment(path, Condition.HEADER_DAMAGED, seal)
    # The header is flushed before the first record is written.
    if not any(head) or size < SEGMENT_HEADER + RECORD_HEADER:
        return Segment(path, Condition.BEGUN, b"")
    return Segment(path, Condition.LOST, b"")


def examine_for_start(path: Path) -> Segment:
    """Likewise; what is wrong is logged."""
    segment = examine(path)
    if segment.condition in _SAID:
        level, event = _SAID[segment.condition]
        log.log(level, event, extra={"segment": path.name})
    return segment


def _seal_of_records(descriptor: int, size: int) -> bytes | None:
    """The seal that records of the segment bear; None if none of them is whole.

    No sender's bytes can stand where the first record begins. Where that one is damaged too, senders may have put
    what looks like records into their bytes: the seal whose records take most of the segment is its own, since all
    others lie within its records.
    """
    first = _claimed(descriptor, SEGMENT_HEADER)
    if first is not None:
        return first[1]
    taken: Counter[bytes] = Counter()
    left = _CHECKED * size  # bytes
    end = 0
    for offset in _magics(descriptor, SEGMENT_HEADER):
        found = _claimed(descriptor, offset) if offset >= end else None
        if found is None:
            continue
        record, seal = found
        if record.end > size or record.length > left:
            continue
        left -= record.length
        if segment_format.checksum_of(descriptor, [(record.payload, record.length)]) == record.crc32:
            taken[seal] += record.end - record.offset
            end = record.end  # what is in its payload is the sender's
    return max(taken, key=taken.__getitem__) if taken else None


def _claimed(descriptor: int, offset: int) -> tuple[Record, bytes] | None:
    """The record whose header stands there, under the seal that it bears itself."""
    head = os.pread(descriptor, RECORD_HEADER, offset)
    seal = segment_format.seal_in(head)
    record = segment_format.parse_record(head, seal, offset)
    return None if record is None else (record, seal)


def _magics(descriptor: int, start: int) -> Iterator[int]:
    """Where records may begin."""
    while window := os.pread(descriptor, _WINDOW, start):
        for found in _MAGIC.finditer(window):
            yield start + found.start()
        if len(window) < _WINDOW:
            return
        start += _WINDOW - _MAGIC_SIZE + 1
