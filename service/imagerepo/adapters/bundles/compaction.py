"""Compaction of a series (ports.compaction): what C-STORE stored singly becomes bundles.

1. Plan which of its objects become one (compaction_plan.py), and read them; each version is checked.
2. Announce the new object by a row that says when it goes unless it is finished (compaction_rows.py).
3. Put it, with the records as they were, and read it back.
4. One transaction, under the lock of the study, has the rows of versions name it, as far as they still name what was
   copied: one that was deleted meanwhile stays deleted.
5. What was copied goes as if it had been deleted (reclaim.py), some time later.

Whoever is killed in between leaves everything readable. Who looked up before step 4 where to read reads there until
step 5, and looks it up again after it (flows/retrieve.py).
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from blake3 import blake3

from imagerepo import telemetry
from imagerepo.adapters.bundles import compaction_plan as planning
from imagerepo.adapters.bundles import compaction_rows as rows
from imagerepo.adapters.bundles import contents, known
from imagerepo.adapters.bundles.bundle import Bundle, Piece, laid_out
from imagerepo.adapters.bundles.compaction_plan import Lying
from imagerepo.adapters.bundles.compaction_rows import Held, Move
from imagerepo.adapters.bundles.placing import new_key
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.segments import lines
from imagerepo.errors import DamagedError, MissingError, OvertakenError
from imagerepo.model.instance import Range
from imagerepo.model.integrity import Integrity
from imagerepo.model.uids import Uid
from imagerepo.ports.compaction import Grown, Progress

log = logging.getLogger(__name__)

WRITER: Final = "compacted"
"""What objects say of who made them: their lines' versions and commits count."""

_AT_ONCE: Final = 2  # objects of a process that are made at the same time: each is in memory, and what it is made of
_READS: Final = 8  # requests at the same time
_PIECE: Final = 8 << 20  # bytes read back at a time
_TO_FINISH: Final = timedelta(hours=1)  # for a new object; then it is reclaimed


@dataclass(frozen=True, slots=True)
class _Source:
    """An object that is to be copied."""

    whole: memoryview
    said: dict[int, dict[str, Any]]  # lines, by the offset of what they are about


class Compactor:
    """Compacts series of all institutions."""

    def __init__(self, database: Database, store: S3Store, most: int, keep: timedelta) -> None:
        """Assemble.

        Args:
            database: of the cluster.
            store: of the cluster.
            most: bytes of versions that an object gets at the most.
            keep: how long an object stays of which copies were made, beyond what was deleted.
        """
        self._database = database
        self._store = store
        self._most = most
        self._keep = keep
        self._turns = threading.BoundedSemaphore(_AT_ONCE)

    def quiet(self, after: int, silence: timedelta, limit: int) -> Sequence[Grown]:
        """Series to which nothing has happened for that long."""
        with self._database.reading() as connection:
            return rows.quiet(connection, after, silence, limit)

    def stored(self, after: int, limit: int) -> Sequence[Grown]:
        """All series, in order of their keys."""
        with self._database.reading() as connection:
            return rows.stored(connection, after, limit)

    def forget(self, series: Sequence[Grown]) -> None:
        """They need not be looked at any more."""
        with self._database.reading() as connection:
            rows.forget(connection, series)

    def is_due(self, series: Grown) -> bool:
        """Whether some of its objects are to be put together."""
        with self._database.reading() as connection:
            found = rows.series(connection, series.institution, series.study_uid, series.series_uid)
            return found is not None and bool(planning.plan(self._lying(connection, found), self._most))

    def step(self, institution: str, study_uid: Uid, series_uid: Uid, damaged: Mapping[int, str]) -> Progress:
        """Put some of a series' objects together."""
        with self._turns:
            with self._database.reading() as connection:
                series = rows.series(connection, institution, study_uid, series_uid)
                if series is None:
                    return Progress(is_done=True, damaged={})
                there = self._lying(connection, series)
                damaged = {one.id: damaged[one.id] for one in there if one.id in damaged}  # others went meanwhile
                targets = planning.plan([one for one in there if one.id not in damaged], self._most)
                target = targets[0] if targets else [one for one in there if one.id in damaged]
                held = _by_object(rows.held(connection, series, target) if target else [])
            if not targets:
                # Somebody may have mended what was damaged when it was read first.
                still = {
                    one.id: why for one in target if isinstance(why := self._read(one, held.get(one.id, ())), str)
                }
                return Progress(is_done=len(still) == len(damaged), damaged=still)
            made, copied, found = self._copy((institution, study_uid, series_uid), target, held)
            if made is not None:
                self._put(institution, study_uid, made, copied)
            return Progress(is_done=False, damaged={**damaged, **found})

    def _lying(self, connection: Connection, series: rows.Series) -> list[Lying]:
        return rows.lying(connection, series, planning.small(self._most))

    def _copy(
        self, series: tuple[str, str, str], target: Sequence[Lying], held: Mapping[int, Sequence[Held]]
    ) -> tuple[Bundle | None, list[Held], dict[int, str]]:
        """The new object, what lies in it, and which of the others are left as they are."""

        def read_one(one: Lying) -> _Source | str:
            return self._read(one, held.get(one.id, ()))

        with ThreadPoolExecutor(_READS, "compaction") as pool:
            read = dict(zip(target, pool.map(read_one, target), strict=True))
        damaged = {one.id: found for one, found in read.items() if isinstance(found, str)}
        sources = {one.id: found for one, found in read.items() if isinstance(found, _Source)}
        copied = sorted(
            (one for object_ in sources for one in held.get(object_, ())),
            key=lambda one: (one.instance, one.number, one.copy),
        )
        if not copied or not planning.is_worthwhile([one for one in target if one.id in sources]):
            return None, [], damaged
        pieces = [_piece(one, sources[one.object_]) for one in copied]
        return laid_out(WRITER, self._store.bucket(series[0]), new_key(series), pieces), copied, damaged

    def _read(self, lying: Lying, held: Sequence[Held]) -> _Source | str:
        """An object that holds what its rows say; or why not. Raises UnavailableError."""
        try:
            whole = self._store.fetch(Range(lying.store, lying.key, 0, lying.size))
            said = contents.of(
                lambda where: whole[where.offset : where.offset + where.length], lying.store, lying.key, lying.size
            )
            source = _Source(whole, {fields["ranges"][0][2]: fields for fields in said.lines})
            for one in held:
                _check(one, source, lying)
        except DamagedError as error:
            return str(error)
        return source

    def _put(self, institution: str, study_uid: str, made: Bundle, copied: list[Held]) -> None:
        """Put it, and have rows name it."""
        place = (made.ranges[0].store, made.ranges[0].key)
        until = microseconds(datetime.now(UTC) + _TO_FINISH)
        with self._database.transaction() as connection:
            reserved = rows.reserve(connection, place, made.size, until)
        self._store.put(place[1], made.parts, institution=institution)
        self._read_back(made, place)
        move = Move(reserved, copied, [where.offset for where in made.ranges])
        lock = known.lock_of_study(institution, study_uid)
        with self._database.transaction() as connection:
            now = datetime.now(UTC)
            moved = rows.switch(connection, lock, move, (microseconds(now), microseconds(now + self._keep)))
        freed = len({one.object_ for one in copied})
        telemetry.compacted_objects.labels(institution).inc(freed)
        log.info("compaction.done", extra={"objects": freed, "versions": moved, "size_bytes": made.size})

    def _read_back(self, made: Bundle, place: tuple[str, str]) -> None:
        wanted, found = blake3(), blake3()
        for part in made.parts:
            wanted.update(part)
        try:
            for start in range(0, made.size, _PIECE):
                found.update(self._store.fetch(Range(*place, start, min(_PIECE, made.size - start))))
        except MissingError as error:
            raise OvertakenError(rows.TOO_LATE) from error
        if wanted.digest() != found.digest():
            raise DamagedError(f"object {place[0]}/{place[1]} is not what was put there; look at the store")


def _by_object(held: Sequence[Held]) -> dict[int, list[Held]]:
    found: dict[int, list[Held]] = {}
    for one in held:
        found.setdefault(one.object_, []).append(one)
    return found


def _check(held: Held, source: _Source, lying: Lying) -> None:
    """Raise DamagedError if a version is not what its row says, or the object says nothing of it."""
    part = source.whole[held.offset : held.offset + held.length]
    fields = source.said.get(held.offset)
    if fields is None or fields["instance"] != held.uid:
        raise DamagedError(f"object {lying.store}/{lying.key} does not say that it holds instance {held.uid}")
    integrity = Integrity(held.data_set_offset)
    integrity.add(part)
    if not integrity.holds(held.digest, held.crc32):
        raise DamagedError(f"the bytes of instance {held.uid} were changed in object {lying.store}/{lying.key}")


def _piece(held: Held, source: _Source) -> Piece:
    part = source.whole[held.offset : held.offset + held.length]
    return Piece(held.length, held.crc32, (part,), partial(_line, held, source.said[held.offset]))


def _line(held: Held, fields: dict[str, Any], where: Range) -> bytes:
    return lines.moved_line(fields, held.number, held.commit, (where,))
