"""What an object says that it holds (docs/format.md): the lines of its commit record, which the footer leads to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from imagerepo.adapters.bundles.bundle import FOOTER, MAGIC
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.format import RECORD_HEADER, SEGMENT_HEADER, Kind
from imagerepo.adapters.segments.lines import CommitHead
from imagerepo.errors import DamagedError
from imagerepo.model import checksum
from imagerepo.model.arrival import Buffer
from imagerepo.model.instance import Range

Read = Callable[[Range], Buffer]
"""Reads stored bytes. Raises DamagedError, UnavailableError."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What an object says."""

    head: CommitHead  # its writer tells whether the lines' versions and commits count
    lines: Sequence[dict[str, Any]]  # the fields of its journal lines, in order


def of(read: Read, store: str, key: str, size: int) -> Contents:
    """What the object of `size` bytes at that place says: three reads, of a few bytes for each instance.

    Raises:
        DamagedError: it is none of ours, or not whole where it says what it holds; the message names it.
        UnavailableError: no answer.
    """
    place = f"object {store}/{key}"
    if size < SEGMENT_HEADER + RECORD_HEADER + FOOTER.size:
        raise DamagedError(f"{place} has {size} bytes, which no object has")
    head = bytes(read(Range(store, key, 0, SEGMENT_HEADER)))
    if not segment_format.is_whole_header(head):
        raise DamagedError(f"{place} does not begin as objects do")
    seal = segment_format.check_segment_header(head, place)
    magic, offset = FOOTER.unpack(read(Range(store, key, size - FOOTER.size, FOOTER.size)))
    end = size - FOOTER.size
    if magic != MAGIC or not SEGMENT_HEADER <= offset <= end - RECORD_HEADER:
        raise DamagedError(f"{place} does not end as objects do")
    with memoryview(read(Range(store, key, offset, end - offset))) as said:
        record = segment_format.parse_record(bytes(said[:RECORD_HEADER]), seal, offset)
        body = bytes(said[RECORD_HEADER:])
    whole = record is not None and record.kind is Kind.COMMIT and record.end == end
    if not whole or record is None or checksum.crc32(body, 0) != record.crc32:
        raise DamagedError(f"{place} does not say what it holds: its commit record is damaged")
    commit, journal = lines.parse_body(body, place)
    return Contents(commit, [lines.parse_line(line, place) for line in journal])
