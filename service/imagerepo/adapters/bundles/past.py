"""What became of a study, told by its journal lines in order of commit: no input, no output.

Versions that were stored and not deleted live. The study, its series and its instances have the keys of the lines that
made them, so that a database that is made anew answers in the order of the one before. After a deletion version
numbers go on; what was deleted is remembered, so that bytes which are still there are not taken for new ones.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from imagerepo.adapters.bundles.carrying import HeldBy, counts, origin_of
from imagerepo.adapters.bundles.rows import PLACES
from imagerepo.adapters.index_sql.holds import HoldEntry
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.lines import DeleteLine, StoreLine

Bytes: TypeAlias = tuple[str, bytes, str, int, int]
"""A Part 10 file, told from all others: SOP Instance UID, digest, transfer syntax, CRC-32, size."""


def bytes_of(line: StoreLine) -> Bytes:
    """Which file a line is about."""
    return line.instance_uid, line.digest, line.transfer_syntax, line.crc32, line.size


@dataclass(frozen=True, slots=True)
class Entry:
    """Journal lines of one commit and institution."""

    commit: int
    writer: str
    place: int  # of the first version that it stores, among those of its commit
    lines: tuple[bytes, ...]

    @property
    def origin(self) -> str:
        """The data folder that it was carried over from; empty: none."""
        return origin_of(self.writer)


@dataclass(frozen=True, slots=True)
class Lived:
    """A version that was stored."""

    line: StoreLine
    place: int  # among the versions of its commit
    origin: str  # the data folder that its line was carried over from, which says where the bytes lay there

    @property
    def key(self) -> int:
        """Of the rows that it makes."""
        return self.line.commit << PLACES | self.place


@dataclass(slots=True)
class Past:
    """A study's; `add` takes what was committed, in order."""

    study_uid: str
    live: dict[str, list[Lived]] = field(default_factory=dict[str, list[Lived]])  # by instance, oldest first
    gone: dict[str, int] = field(default_factory=dict[str, int])  # last version number of instances that were deleted
    dead: list[Lived] = field(default_factory=list[Lived])  # versions that were deleted
    deleted: dict[Bytes, datetime] = field(default_factory=dict[Bytes, datetime])  # when, the last time
    hold: HoldEntry | None = None
    hold_origin: str = ""  # the data folder that its line was carried over from; empty: none
    study: int = 0  # its key; 0: there is nothing of it
    series: dict[str, int] = field(default_factory=dict[str, int])  # keys, by UID

    def add(self, entry: Entry) -> None:
        """Go on with one commit; what its lines say of other studies is passed over. Raises DamagedError."""
        place = entry.place
        for line in entry.lines:
            said = lines.parse_line(line, f"commit {entry.commit}")
            for one in lines.stores(said, entry.commit):
                if one.study_uid == self.study_uid:
                    self._store(Lived(one, place, entry.origin))
                place += 1
            if said.get("study") == self.study_uid:
                self._change(said, entry)

    def lose(self, lived: Lived) -> None:
        """Nobody has the bytes of a version any more: its number stays taken."""
        uid = lived.line.instance_uid
        self.live[uid].remove(lived)
        self.gone[uid] = max(lived.line.version, self.gone.get(uid, 0))
        if not self.live[uid]:
            del self.live[uid]
        self._forget_empty()

    @property
    def versions(self) -> list[Lived]:
        """All that live, in the order in which they were stored."""
        return sorted((one for versions in self.live.values() for one in versions), key=lambda one: one.key)

    def named(self, bucket: str) -> set[str]:
        """Keys of the objects in that bucket that lines name."""
        found = (where for one in (*self.versions, *self.dead) for where in one.line.ranges)
        return {where.key for where in found if where.store == bucket}

    def _store(self, lived: Lived) -> None:
        line = lived.line
        known = self.live.get(line.instance_uid, [])
        if lived.origin and self._is_known(lived, known):
            return
        self.live.setdefault(line.instance_uid, known).append(lived)
        self.study = self.study or lived.key
        self.series.setdefault(line.series_uid, lived.key)

    def _is_known(self, lived: Lived, known: list[Lived]) -> bool:
        """Whether what is carried had come by another way before."""
        line = lived.line
        last = max((one.line.version for one in known), default=self.gone.get(line.instance_uid, 0))
        return line.version <= last or any(one.line.digest == line.digest for one in known)

    def _change(self, said: dict[str, Any], entry: Entry) -> None:
        for one in lines.deletes(said, entry.commit):
            self._delete(one, entry)
        for one in lines.holds(said, entry.commit):
            before = None if self.hold is None else HeldBy(self.hold.held, self.hold_origin)
            if counts(one, entry.origin, before):
                self.hold, self.hold_origin = replace(one, commit=entry.commit), entry.origin

    def _delete(self, deletion: DeleteLine, entry: Entry) -> None:
        for uid, versions in list(self.live.items()):
            if deletion.instance_uid not in {None, uid}:
                continue
            if deletion.series_uid not in {None, versions[0].line.series_uid}:
                continue
            # What is carried over deletes nothing that came by another way.
            if entry.origin and any(one.origin != entry.origin for one in versions):
                continue
            del self.live[uid]
            self.gone[uid] = max(versions[-1].line.version, self.gone.get(uid, 0))
            self.dead += versions
            for one in versions:
                self.deleted[bytes_of(one.line)] = deletion.at
        self._forget_empty()

    def _forget_empty(self) -> None:
        left = {versions[0].line.series_uid for versions in self.live.values()}
        self.series = {uid: key for uid, key in self.series.items() if uid in left}
        if not left:
            self.study = 0
