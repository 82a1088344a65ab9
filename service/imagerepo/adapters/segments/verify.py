"""Verify the journal: every chain from its first line, the commits that hold them, and the roots signed over them.

A line that was changed, removed, added or moved breaks its chain at that place. What a chain alone cannot tell,
that its end was cut off or all of it written anew, the index tells as far as it was not changed with it, and signed
roots (anchor.py) for certain.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.segments import catalog, lines, projection, proof, replay, tombstones
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.catalog import Condition, Segment
from imagerepo.adapters.segments.format import Kind, Record
from imagerepo.adapters.segments.lines import START, CommitHead, Link, StoreLine
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.adapters.segments.tombstones import Evidence, Graves
from imagerepo.errors import DamagedError

_DAMAGE = {
    Condition.HEADER_DAMAGED: "the header is damaged; all records were found by the seal that they bear",
    Condition.LOST: "the header is damaged and no record can be recognised: what it held is lost",
}


@dataclass(frozen=True, slots=True)
class ChainId:
    """One chain: of an institution, by a writer."""

    institution: str
    writer: str

    def __str__(self) -> str:
        return f"{self.institution}/{self.writer}"


@dataclass(slots=True)
class Report:
    """What was found."""

    entries: int = 0
    chains: dict[ChainId, Link] = field(default_factory=dict[ChainId, Link])
    roots: set[tuple[ChainId, Link]] = field(
        default_factory=set[tuple[ChainId, Link]]
    )  # links that were looked for, and found
    damage: list[str] = field(default_factory=list[str])  # that breaks no chain


@dataclass(frozen=True, slots=True)
class _Found:
    head: CommitHead
    journal: list[bytes]
    place: str


def verify(data: Path, wanted: frozenset[tuple[ChainId, Link]] = frozenset(), *, with_bytes: bool = False) -> Report:
    """Verify all chains.

    Args:
        data: the data folder; a server may be running on it.
        wanted: links that signed roots name; those found are in the report.
        with_bytes: also read every instance's bytes and compare them with the digest in its line.

    Raises:
        DamagedError: names the first broken link.
    """
    # Read before the segments: what commits meanwhile is then only seen to go further than this.
    heads = index_heads(data)
    report = Report()
    by_writer: dict[str, list[Segment]] = {}
    for path in catalog.paths(data):
        segment = catalog.examine(path)
        if segment.condition in _DAMAGE:
            report.damage.append(f"{path.name}: {_DAMAGE[segment.condition]}")
        by_writer.setdefault(segment_format.parse_segment_name(path.name)[0], []).append(segment)
    looked_for = wanted | frozenset(heads.items())
    try:
        everything = [segment for segments in by_writer.values() for segment in segments]
        evidence = Evidence(everything, {})
        bytes_of = _Bytes(data) if with_bytes else None
        for writer, segments in by_writer.items():
            ordered = sorted(segments, key=lambda one: segment_format.parse_segment_name(one.path.name)[1])
            void = replay.voided(ordered)
            for one in (one for segment in ordered for one in _commits(segment, writer, evidence)):
                if one.head.number not in void:
                    _follow(report, writer, one, looked_for)
                    if bytes_of is not None:
                        bytes_of.check(one)
        _compare_with_index(report, heads)
    except DamagedError as error:
        raise DamagedError("; ".join([*report.damage, str(error)])) from error
    return report


def _compare_with_index(report: Report, heads: Mapping[ChainId, Link]) -> None:
    for chain, link in heads.items():
        reached = report.chains.get(chain, START)
        if reached.sequence < link.sequence:
            raise DamagedError(
                f"chain {chain} ends at entry {reached.sequence}, but the index has seen entry {link.sequence}: "
                "its end was cut off"
            )
        if (chain, link) not in report.roots:
            raise DamagedError(
                f"chain {chain}: entry {link.sequence} is not the one that the index has seen: it was changed, or all "
                "of the chain was written anew"
            )


def index_heads(data: Path) -> dict[ChainId, Link]:
    """Where the index has seen each chain; all of that is durable."""
    if not (data / INDEX).exists():
        return {}
    try:
        return _index_heads(connect(data / INDEX))
    except sqlite3.Error as error:
        raise DamagedError(f"the index cannot be read: {error}; `imagerepo index rebuild` makes it anew") from error


def _index_heads(connection: sqlite3.Connection) -> dict[ChainId, Link]:
    try:
        writers = connection.execute("SELECT DISTINCT writer FROM chain").fetchall()
        return {
            ChainId(institution, writer): link
            for (writer,) in writers
            for institution, link in projection.links(connection, writer).items()
        }
    finally:
        connection.close()


def _commits(segment: Segment, writer: str, evidence: Evidence) -> Iterator[_Found]:
    """A segment's commits.

    The last one may be torn: power was lost before it was flushed. As for replay it counts only if it is whole;
    that it was whole once the chain tells, which goes on from it elsewhere.
    """
    if not segment.is_readable:
        return
    path = segment.path
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        last: tuple[Record, int | None] | None = None
        damaged: int | None = None  # where, since the commit before
        end = segment_format.SEGMENT_HEADER
        for record in segment_format.records(descriptor, segment.seal, 0, size):
            if record.offset != end and damaged is None:
                damaged = end
            end = record.end
            if record.kind is Kind.COMMIT:
                if last is not None:
                    yield _sound(descriptor, path, *last, writer)
                last, damaged = (record, damaged), None
        if last is not None:
            body = segment_format.read_payload(descriptor, last[0])
            if body is not None and replay.counts(descriptor, path, last[0], body, evidence):
                yield _parsed(body, _place(path, *last), last[0], writer)
    finally:
        os.close(descriptor)


def _sound(descriptor: int, path: Path, record: Record, damaged: int | None, writer: str) -> _Found:
    place = _place(path, record, damaged)
    body = segment_format.read_payload(descriptor, record)
    if body is None:
        raise DamagedError(f"{place}: the commit is damaged")
    return _parsed(body, place, record, writer)


def _place(path: Path, record: Record, damaged: int | None) -> str:
    """Where a commit is, to begin a message with.

    Bytes before it that are no whole record may have been a commit, which the chain then shows to be missing; or
    what was never acknowledged, for which a place was taken (writer.py).
    """
    behind = "" if damaged is None else f", behind a damaged record at byte {damaged}"
    return f"{path.name} at byte {record.offset}{behind}"


def _parsed(body: bytes, place: str, record: Record, writer: str) -> _Found:
    head, journal = lines.parse_body(body, place)
    if (head.number, head.writer) != (record.number, writer):
        raise DamagedError(
            f"{place}: the commit says that it is number {head.number} of {head.writer}; it was changed"
        )
    return _Found(head, journal, place)


def _follow(report: Report, writer: str, found: _Found, wanted: frozenset[tuple[ChainId, Link]]) -> None:
    for line in found.journal:
        fields = lines.parse_line(line, found.place)
        chain = ChainId(fields["institution"], writer)
        link = report.chains.get(chain, START)
        if fields["commit"] != found.head.number:
            raise DamagedError(f"{found.place}: entry {fields['seq']} of chain {chain} is of another commit")
        link = proof.follow(link, line, fields, str(chain), found.place)
        report.chains[chain] = link
        report.entries += 1
        if (chain, link) in wanted:
            report.roots.add((chain, link))


class _Bytes:
    """Compares what is stored with the digests in its lines; what was deleted is passed over."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._objects = LocalObjects(data)
        self._graves = _graves(data)

    def check(self, found: _Found) -> None:
        """Check all that a commit stored. Raises DamagedError."""
        for line in found.journal:
            for stored in lines.stores(lines.parse_line(line, found.place), found.head.number):
                if self._graves.hold(stored):
                    continue
                wrong = proof.wrong_bytes(stored, self._objects.read)
                if wrong is not None and not self._is_gone_by_now(stored):
                    raise DamagedError(f"{found.place}: {wrong}")

    def _is_gone_by_now(self, stored: StoreLine) -> bool:
        """Whether a running server deleted it while this was looking."""
        self._graves = _graves(self._data)
        return self._graves.hold(stored)


def _graves(data: Path) -> Graves:
    segments = [catalog.examine(path) for path in catalog.paths(data)]
    void = replay.voided(segments)
    return Graves(one for one in tombstones.read(segments, {}) if one.commit not in void)
