"""Bring the index up to the segments: after a crash what it misses, after its loss everything.

Commits are taken in order of their numbers over all segments. The last commit of a segment may have been in doubt when
power was lost (writer.py), so that its bytes are checked before it counts; every earlier one was flushed whole.
"""

import heapq
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.index_sql.apply import Applier, Stored
from imagerepo.adapters.index_sql.engine import INDEX, connect, transaction
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments import lines, projection
from imagerepo.adapters.segments.format import Kind
from imagerepo.adapters.segments.lines import Link, StoreLine
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.adapters.segments.projection import Position
from imagerepo.adapters.segments.writer import FOLDER
from imagerepo.dicom import part10
from imagerepo.errors import DamagedError, RefusedError
from imagerepo.model.uids import Uid

log = logging.getLogger(__name__)

_AT_ONCE = 200  # commits turned into rows in one transaction


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit found whole in a segment."""

    number: int
    segment: str
    writer: str
    position: int  # after it
    voids: tuple[int, ...]
    journal: tuple[bytes, ...]

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.segment}, commit {self.number}"


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a replay did."""

    commits: int
    instances: int
    damaged: int  # instances that commits name but whose bytes cannot be read
    last_commit: int  # the highest number in index or segments


def segments(data: Path) -> list[Path]:
    """All segments of a data folder."""
    return sorted((data / FOLDER).glob(f"*{segment_format.SUFFIX}"))


def commits(path: Path, start: int) -> Iterator[Commit]:
    """Whole commits of a segment from `start` on, voided ones too; what is damaged is reported and passed over."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        segment_format.check_segment_header(os.pread(descriptor, segment_format.SEGMENT_HEADER, 0), path.name)
        found = [one for one in segment_format.records(descriptor, start, size) if one.kind is Kind.COMMIT]
        for number, record in enumerate(found):
            body = segment_format.read_payload(descriptor, record)
            in_doubt = number == len(found) - 1
            if body is None or (in_doubt and not bytes_are_whole(descriptor, path, body)):
                log.warning("segment.commit_damaged", extra={"segment": path.name, "offset": record.offset})
                continue
            head, journal = lines.parse_body(body, f"{path.name} at byte {record.offset}")
            yield Commit(head.number, path.name, head.writer, record.end, head.voids, tuple(journal))
    finally:
        os.close(descriptor)


def bytes_are_whole(descriptor: int, path: Path, body: bytes) -> bool:
    """Whether a commit's lines can be read and all that they name in this segment has its checksum.

    The lines say what to look for: the headers of data records may have been lost like anything else.
    """
    key = f"{FOLDER}/{path.name}"
    try:
        head, journal = lines.parse_body(body, path.name)
        stored = [one for line in journal for one in lines.stores(lines.parse_line(line, path.name), head.number)]
    except DamagedError:
        return False
    # Files of their own were flushed before the commit was written.
    return all(
        segment_format.checksum_of(descriptor, [(where.offset, where.length) for where in one.ranges]) == one.crc32
        for one in stored
        if all(where.key == key for where in one.ranges)
    )


def voided(paths: Sequence[Path]) -> set[int]:
    """Commits whose flush failed, and that were answered so: they do not count, even where they are found whole.

    A failed flush retires its segment; the first commit of the writer's next one says so.
    """
    found: set[int] = set()
    for path in paths:
        if not has_header(path):
            continue
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            records = segment_format.records(descriptor, 0, size)
            first = next((record for record in records if record.kind is Kind.COMMIT), None)
            body = None if first is None else segment_format.read_payload(descriptor, first)
            if body is not None:
                found.update(lines.parse_body(body, path.name)[0].voids)
        finally:
            os.close(descriptor)
    return found


def counted(data: Path) -> Iterator[Commit]:
    """All commits of a data folder that count, in order of their numbers."""
    paths = segments(data)
    void = voided(paths)
    streams = [commits(path, 0) for path in paths if has_header(path)]
    return (one for one in heapq.merge(*streams, key=lambda commit: commit.number) if one.number not in void)


def replay(data: Path, only_writer: str | None = None) -> Replayed:
    """Apply what the index misses; of one writer, if it alone has died.

    Raises:
        DamagedError: a segment is of another format.
    """
    connection = connect(data / INDEX)
    try:
        done = projection.applied(connection)
        paths = [
            path
            for path in segments(data)
            if only_writer is None or segment_format.parse_segment_name(path.name)[0] == only_writer
        ]
        behind = [path for path in paths if path.stat().st_size > done.get(path.name, segment_format.SEGMENT_HEADER)]
        for path in behind:
            _flush(path)
        void = voided(_after(behind, paths))
        streams = [commits(path, done.get(path.name, 0)) for path in behind if has_header(path)]
        merged = heapq.merge(*streams, key=lambda commit: commit.number)
        return _apply_all(connection, data, merged, void)
    finally:
        connection.close()


def _after(behind: Sequence[Path], paths: Sequence[Path]) -> list[Path]:
    """Segments that may void commits of those behind: later ones of the same writer."""
    first: dict[str, int] = {}
    for writer, number in map(segment_format.parse_segment_name, (path.name for path in behind)):
        first[writer] = min(number, first.get(writer, number))
    named = [(path, *segment_format.parse_segment_name(path.name)) for path in paths]
    return [path for path, writer, number in named if writer in first and number > first[writer]]


def _flush(path: Path) -> None:
    # After `kill -9` the bytes may be in the page cache alone; rows must not be ahead of them.
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def has_header(path: Path) -> bool:
    """Whether a segment was begun wholly."""
    # Power lost while the segment was begun: it never took a commit.
    with path.open("rb") as file:
        head = file.read(segment_format.SEGMENT_HEADER)
    if any(head) and len(head) == segment_format.SEGMENT_HEADER:
        return True
    log.warning("segment.empty", extra={"segment": path.name})
    return False


def _apply_all(connection: sqlite3.Connection, data: Path, found: Iterator[Commit], void: set[int]) -> Replayed:
    applier, objects = Applier(connection), LocalObjects(data)
    last = projection.last_commit(connection)
    count = instances = damaged = 0
    batch: list[Commit] = []
    for commit in found:
        last = max(last, commit.number)
        if commit.number in void:
            continue
        batch.append(commit)
        if len(batch) == _AT_ONCE:
            done, lost = _apply(connection, applier, objects, batch)
            instances, damaged, count = instances + done, damaged + lost, count + len(batch)
            batch = []
    done, lost = _apply(connection, applier, objects, batch)
    return Replayed(count + len(batch), instances + done, damaged + lost, last)


def _apply(
    connection: sqlite3.Connection, applier: Applier, objects: LocalObjects, batch: list[Commit]
) -> tuple[int, int]:
    """Rows for a batch; how many instances they hold, and how many could not be read."""
    stored: list[Stored] = []
    named = 0
    if not batch:
        return 0, 0
    with transaction(connection):
        for commit in batch:
            heads: dict[str, Link] = {}
            for line in commit.journal:
                fields = lines.parse_line(line, commit.place)
                heads[fields["institution"]] = Link(fields["seq"], lines.digest_of(line))
                for one in lines.stores(fields, commit.number):
                    named += 1
                    found = list(_read_back(objects, one, commit))
                    stored.extend(found)
                    if not found:
                        applier.keep(one.ranges)  # the sweep must not take its file for one that nobody named
            done = Position(commit.segment, commit.position, commit.number)
            projection.mark_applied(connection, done, commit.writer, heads)
        applier.apply(stored)
    return len(stored), named - len(stored)


def _read_back(objects: LocalObjects, line: StoreLine, commit: Commit) -> Iterator[Stored]:
    """What ingest knew of an instance, from its bytes; nothing if they are damaged, which is reported."""
    try:
        # Every view is left before the map is closed, also when an error still holds it.
        with objects.mapped(line.ranges[0]) as view, view[line.data_set_offset :] as data_set:
            attributes, layout = part10.read_data_set(data_set, Uid(line.transfer_syntax), line.data_set_offset)
    except (RefusedError, DamagedError, OSError, ValueError, BufferError) as error:
        # One damaged instance must not keep all others from being served.
        log.error(  # noqa: TRY400 - the place says more than the stack
            "replay.instance_damaged",
            extra={"place": commit.place, "instance": line.instance_uid, "reason": str(error)},
        )
        return
    yield Stored(
        institution=line.institution,
        attributes=attributes,
        layout=layout,
        transfer_syntax=line.transfer_syntax,
        number=line.version,
        digest=line.digest,
        crc32=line.crc32,
        size=line.size,
        received_at=line.received_at,
        commit=commit.number,
        ranges=line.ranges,
    )
