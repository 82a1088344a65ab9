"""Bring the index up to the segments: after a crash what it misses, after its loss everything.

Commits are taken in order of their numbers over all segments. The last commit of a segment may have been in doubt when
power was lost (writer.py), so that its bytes are checked before it counts; every earlier one was flushed whole.
"""

import heapq
import itertools
import logging
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from imagerepo.adapters.index_sql import holds
from imagerepo.adapters.index_sql.apply import Applier, Stored
from imagerepo.adapters.index_sql.engine import connect, transaction
from imagerepo.adapters.index_sql.removal import Deleted, Removal
from imagerepo.adapters.segments import catalog, lines, projection, read_back, tombstones
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.catalog import Condition, Segment
from imagerepo.adapters.segments.format import Kind, Record
from imagerepo.adapters.segments.lines import DeleteLine, Link, StoreLine
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.adapters.segments.projection import Position
from imagerepo.adapters.segments.read_back import describing
from imagerepo.adapters.segments.tombstones import Evidence
from imagerepo.adapters.segments.writer import FOLDER
from imagerepo.errors import DamagedError, UnavailableError
from imagerepo.model.instance import Attributes, Layout

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
    damaged: int  # instances that commits name but whose bytes cannot be read, and segments that are lost
    last_commit: int  # the highest number in index or segments


def commits(segment: Segment, start: int, evidence: Evidence) -> Iterator[Commit]:
    """Whole commits of a segment from `start` on, voided ones too; what is damaged is reported and passed over."""
    path = segment.path
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        records = segment_format.records(descriptor, segment.seal, start, size)
        found = [one for one in records if one.kind is Kind.COMMIT]
        for number, record in enumerate(found):
            body = segment_format.read_payload(descriptor, record)
            in_doubt = number == len(found) - 1
            if body is None or (in_doubt and not counts(descriptor, path, record, body, evidence)):
                log.warning("segment.commit_damaged", extra={"segment": path.name, "offset": record.offset})
                continue
            head, journal = lines.parse_body(body, f"{path.name} at byte {record.offset}")
            yield Commit(head.number, path.name, head.writer, record.end, head.voids, tuple(journal))
    finally:
        os.close(descriptor)


def counts(descriptor: int, path: Path, record: Record, body: bytes, evidence: Evidence) -> bool:
    """Whether the last commit of a segment counts, whose record is whole."""
    return bytes_are_whole(descriptor, path, body) or evidence.names(record.number)


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


def voided(segments: Sequence[Segment]) -> set[int]:
    """Commits whose flush failed, and that were answered so: they do not count, even where they are found whole.

    A failed flush retires its segment; the first commit of the writer's next one says so, if it is whole, else the
    one after it.
    """
    found: set[int] = set()
    for segment in segments:
        if not segment.is_readable:
            continue
        descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            records = segment_format.records(descriptor, segment.seal, 0, size)
            bodies = (segment_format.read_payload(descriptor, one) for one in records if one.kind is Kind.COMMIT)
            body = next((body for body in bodies if body is not None), None)
            if body is not None:
                found.update(lines.parse_body(body, segment.path.name)[0].voids)
        finally:
            os.close(descriptor)
    return found


def counted(data: Path) -> Iterator[Commit]:
    """All commits of a data folder that count, in order of their numbers."""
    segments = [catalog.examine(path) for path in catalog.paths(data)]
    void = voided(segments)
    found = _merged(segments, {}, Evidence(segments, {}))
    return (one for one in found if one.number not in void)


def _merged(segments: Sequence[Segment], done: Mapping[str, int], evidence: Evidence) -> Iterator[Commit]:
    """Commits beyond what is done, in order of their numbers. Of each writer one segment is open at a time."""
    by_writer: dict[str, list[tuple[int, Segment]]] = {}
    for segment in segments:
        if segment.is_readable:
            writer, number = segment_format.parse_segment_name(segment.path.name)
            by_writer.setdefault(writer, []).append((number, segment))
    streams = [_of_writer(of_writer, done, evidence) for of_writer in by_writer.values()]
    return heapq.merge(*streams, key=lambda commit: commit.number)


def _of_writer(
    segments: Sequence[tuple[int, Segment]], done: Mapping[str, int], evidence: Evidence
) -> Iterator[Commit]:
    for _, segment in sorted(segments, key=lambda numbered: numbered[0]):
        yield from commits(segment, done.get(segment.path.name, 0), evidence)


def replay(data: Path, index: Path, only_writer: str | None = None) -> Replayed:
    """Apply what `index` misses of the data folder; of one writer, if it alone has died.

    Raises:
        DamagedError: a segment is of another format.
        UnavailableError: the index cannot be written; its cause says why.
    """
    connection = connect(index)
    try:
        done = projection.applied(connection)
        paths = [
            path
            for path in catalog.paths(data)
            if only_writer is None or segment_format.parse_segment_name(path.name)[0] == only_writer
        ]
        lost = _lost(data, done) if only_writer is None else 0
        behind = [path for path in paths if path.stat().st_size > done.get(path.name, segment_format.SEGMENT_HEADER)]
        for path in behind:
            _flush(path)
        missed = [catalog.examine_for_start(path) for path in behind]
        lost += sum(segment.condition is Condition.LOST for segment in missed)
        void = voided([catalog.examine_for_start(path) for path in _after(behind, paths)])
        replaying = _Replay(connection, data)
        replaying.announce(one for one in tombstones.read(missed, done) if one.commit not in void)
        replayed = replaying.apply_all(_merged(missed, done, Evidence(missed, done)), void)
        return replace(replayed, damaged=replayed.damaged + lost)
    except sqlite3.Error as error:
        raise UnavailableError(f"the index cannot be read: {error}") from error
    finally:
        connection.close()


def _lost(data: Path, done: Mapping[str, int]) -> int:
    """Segments that are shorter than what the index has of them, or gone: reported, since only a backup can help."""
    lost = 0
    for name, position in done.items():
        path = data / FOLDER / name
        size = path.stat().st_size if path.exists() else 0
        if size < position:
            log.error("segment.lost", extra={"segment": name, "bytes": size, "indexed_bytes": position})
            lost += 1
    return lost


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


class _Replay:
    """Turns commits into rows."""

    def __init__(self, connection: sqlite3.Connection, data: Path) -> None:
        self._connection = connection
        self._objects = LocalObjects(data)
        self._applier = Applier(connection)
        self._removal = Removal(connection, describing(self._objects))
        self._waiting: list[Stored] = []
        self._instances = self._damaged = 0

    def announce(self, found: Iterable[DeleteLine]) -> None:
        """Note what later commits delete: its bytes may be gone, and are not missed."""
        with transaction(self._connection):
            for one in found:
                self._removal.announce(_deleted(one))

    def apply_all(self, found: Iterator[Commit], void: set[int]) -> Replayed:
        """Apply those that count."""
        last = projection.last_commit(self._connection)
        count = 0
        batch: list[Commit] = []
        for commit in found:
            last = max(last, commit.number)
            if commit.number in void:
                continue
            batch.append(commit)
            count += 1
            if len(batch) == _AT_ONCE:
                self._apply(batch)
                batch = []
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # else its log would grow as large as all
        if batch:
            self._apply(batch)
        return Replayed(count, self._instances, self._damaged, last)

    def _apply(self, batch: Sequence[Commit]) -> None:
        with transaction(self._connection):
            for commit in batch:
                heads: dict[str, Link] = {}
                places = itertools.count()
                for line in commit.journal:
                    said = lines.parse_line(line, commit.place)
                    heads[said["institution"]] = Link(said["seq"], lines.digest_of(line))
                    for one in lines.stores(said, commit.number):
                        self._store(one, commit, next(places))
                    for one in lines.deletes(said, commit.number):
                        self._write_waiting()
                        self._removal.delete(_deleted(one))
                    for one in lines.holds(said, commit.number):
                        holds.enter(self._connection, one)
                done = Position(commit.segment, commit.position, commit.number)
                projection.mark_applied(self._connection, done, commit.writer, heads)
            self._write_waiting()

    def _store(self, line: StoreLine, commit: Commit, place: int) -> None:
        names = (line.institution, line.study_uid, line.series_uid, line.instance_uid)
        if self._removal.is_covered(names, line.commit):
            instance = (line.instance_uid, line.version)
            self._removal.bury(line.institution, instance, line.ranges[0], line.digest, line.received_at)
            return
        self._instances += 1
        found = read_back.read(self._objects, line.ranges[0], line.transfer_syntax, line.data_set_offset)
        if isinstance(found, str):
            # One damaged instance must not keep all others from being served.
            self._damaged += 1
            log.error(
                "replay.instance_damaged",
                extra={"place": commit.place, "instance": line.instance_uid, "reason": found},
            )
            self._waiting.append(_unread(line, commit, place))
        else:
            self._waiting.append(_stored(line, (commit, place), *found))

    def _write_waiting(self) -> None:
        self._applier.replay(self._waiting)
        self._waiting = []


def _deleted(line: DeleteLine) -> Deleted:
    names = (line.study_uid, line.series_uid, line.instance_uid)
    return Deleted(line.institution, line.commit, line.at, *names)


def _unread(line: StoreLine, commit: Commit, place: int) -> Stored:
    """A damaged instance as its line names it: its version number stays taken, and whoever asks for it is told."""
    attributes = read_back.unknown(line.study_uid, line.series_uid, line.instance_uid, line.sop_class_uid)
    layout = Layout(line.data_set_offset, line.header_length, line.trailer_offset, None)
    return _stored(line, (commit, place), attributes, layout)


def _stored(line: StoreLine, where: tuple[Commit, int], attributes: Attributes, layout: Layout) -> Stored:
    commit, place = where
    return Stored(
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
        place=place,
        ranges=line.ranges,
    )
