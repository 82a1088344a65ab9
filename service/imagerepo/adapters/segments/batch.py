"""The steps of an embedded commit.

1. Large instances are appended to this writer's segment; nothing names them yet. Files were flushed before (ahead.py).
2. Under the data folder's lock each instance gets its version number, and the commit its own.
3. The commit record is appended and flushed: from here on all of it is durable.
4. Under the lock again its rows are written; then it is answered.

An instance is in flight from 2 to 4: whoever else has it waits, so that two commits never give one number. Changes
(deletions, holds) go in commits without instances, of which nothing of the studies that they concern is in flight.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from imagerepo import telemetry
from imagerepo.adapters.index_sql.apply import Applier, Stored
from imagerepo.adapters.index_sql.engine import INDEX, connect, transaction
from imagerepo.adapters.segments import lines, projection
from imagerepo.adapters.segments.ahead import Item, is_small
from imagerepo.adapters.segments.change import Changes
from imagerepo.adapters.segments.decide import Decided, Decision, History, Visible, as_known, decide
from imagerepo.adapters.segments.lines import Link
from imagerepo.adapters.segments.numbers import SLOTS, Numbers, changing, growing, mark
from imagerepo.adapters.segments.place import Place
from imagerepo.adapters.segments.projection import Position
from imagerepo.adapters.segments.spool import SpoolFile
from imagerepo.adapters.segments.writer import SegmentWriter
from imagerepo.errors import ImagerepoError, RefusedError, UnavailableError
from imagerepo.model.arrival import InMemory
from imagerepo.model.events import Action, ChangeRequest, CommitKind, Committed, JournalRequest, StoreRequest


@dataclass(frozen=True, slots=True)
class _Written:
    """A durable commit, to be turned into rows."""

    position: Position
    stored: list[tuple[Item, Stored]]
    changed: list[Item]
    others: list[Item]
    links: dict[str, Link]


class Batch:
    """Carries commits of one writer, one at a time."""

    def __init__(self, place: Place, writer: SegmentWriter, state: Path) -> None:
        """Open the writer's things; its rows must be complete (replay.py)."""
        self._place = place
        self._numbers = Numbers(state, place.number)
        self._writer = writer
        self._connection = connect(place.data / INDEX)
        self._applier = Applier(self._connection)
        self._visible = Visible(self._connection)
        self._links = projection.links(self._connection, place.writer)
        self._changes = Changes(place.data, self._connection)
        self._claims = False  # studies are marked for changes that wait
        self._left: _Written | None = None  # durable, but its rows could not be written
        self._voids: list[int] = []

    def close(self) -> None:
        """Let go of everything."""
        self._writer.retire()
        self._numbers.close()
        self._connection.close()

    def run(self, items: Sequence[Item]) -> None:
        """Commit what can be committed now; items in flight elsewhere stay without result.

        Raises:
            ImagerepoError: what has no result failed, and nothing of it is visible.
        """
        self._finish_what_is_left()
        self._writer.abandon()  # what a commit that broke off had waiting
        self._writer.prepare()
        self._run_arrivals([item for item in items if not isinstance(item.request, ChangeRequest)])
        self._run_changes([item for item in items if isinstance(item.request, ChangeRequest)])

    def _run_arrivals(self, items: Sequence[Item]) -> None:
        for item in items:
            try:
                self._write(item)
            except ImagerepoError as error:
                item.result = Committed(CommitKind.FAILED, error=error)
        items = [item for item in items if item.result is None]
        if not items:
            return
        ready, number = self._number(items[:SLOTS])
        if not number:
            # Of visible versions: nothing in this commit could fail them any more.
            for item in ready:
                item.result = _answer(item.decided)
            self._writer.abandon()
            return
        self._commit(number, ready)

    def _run_changes(self, items: Sequence[Item]) -> None:
        if not items:
            return
        ready, number = self._number_changes(items[:SLOTS])
        if ready:
            self._commit(number, ready)

    def _commit(self, number: int, ready: Sequence[Item]) -> None:
        try:
            written = self._write_commit(number, ready)
        except ImagerepoError:
            self._voids.append(number)
            self._writer.abandon()
            self._land()
            raise
        self._left = written
        self._finish_what_is_left()

    def give_up(self) -> None:
        """Let others have the studies for whose changes this writer waited."""
        if self._claims and self._left is None:
            self._land()

    def tend(self) -> None:
        """Finish what was left, if anything: until then its instances are in flight for everyone."""
        self._finish_what_is_left()

    def _write(self, item: Item) -> None:
        """Look for a large instance among those that are stored, and write it if it is none of them."""
        request = item.request
        if not isinstance(request, StoreRequest) or is_small(request):
            return
        if item.decided is None:
            item.decided = decide(request, self._visible.of(request))
        if item.decided.decision is Decision.DUPLICATE:
            item.result = _answer(item.decided)
        if item.decided.decision is not Decision.STORE:
            return
        if isinstance(request.payload, SpoolFile):
            # It was not to be stored when its sender looked.
            item.where = item.where or request.payload.make_durable()
        elif item.where is None or item.where.key != self._writer.key:
            # In a segment that was retired since, bytes written for an earlier try may be gone.
            assert isinstance(request.payload, InMemory)
            with telemetry.ingest_step("write").time():
                item.where = self._writer.data(request.payload.buffers, request.payload.size, request.crc32)

    def _number(self, items: Sequence[Item]) -> tuple[list[Item], int]:
        """Give version numbers; the items that have one or need none, and the commit's number.

        That is 0 where all is stored already: there is nothing to commit.
        """
        ready: list[Item] = []
        marks: list[bytes] = []
        pending: dict[bytes, History] = {}
        studies = _Studies(self._numbers)
        with self._numbers.locked():
            for item in items:
                request = item.request
                if not isinstance(request, StoreRequest):
                    ready.append(item)
                    continue
                study = (request.caller.institution, request.attributes.study_uid)
                name = mark(request.caller.institution, request.attributes.instance_uid)
                if studies.is_changing(study) or self._numbers.in_flight_elsewhere(name):
                    continue
                history = pending.get(name)
                if history is None:
                    history = pending[name] = self._visible.of(request)
                item.decided = decide(request, history)
                if item.decided.decision is Decision.STORE:
                    if isinstance(request.payload, InMemory) and is_small(request):
                        item.where = self._writer.small_data(
                            request.payload.buffers, request.payload.size, request.crc32
                        )
                    elif item.where is None:
                        continue  # was not to be stored a moment ago; its bytes are written when it comes again
                    history.known.append(as_known(request, item.decided.version))
                    marks.append(name)
                    studies.grow(study)
                ready.append(item)
            if all(_is(item, Decision.DUPLICATE) for item in ready):
                return ready, 0
            self._numbers.take_off([*marks, *studies.marks()])
            return ready, self._numbers.next_commit()

    def _number_changes(self, items: Sequence[Item]) -> tuple[list[Item], int]:
        """Find out which changes may be made now, and give the number of their commit.

        A study is marked as soon as no other writer changes it, so that what is in flight of it lands and no more
        takes off: then it is this writer's turn.
        """
        ready: list[Item] = []
        marks: dict[bytes, None] = {}
        with self._numbers.locked():
            for item in items:
                request = item.request
                assert isinstance(request, ChangeRequest)
                study = (request.caller.institution, request.study_uid)
                name = changing(*study)
                if name in marks or self._numbers.in_flight_elsewhere(name):
                    continue  # one after another
                marks[name] = None
                if self._numbers.in_flight_elsewhere(growing(*study)):
                    continue
                try:
                    item.extent = self._changes.weigh(request)
                    ready.append(item)
                except RefusedError as error:
                    item.result = Committed(CommitKind.FAILED, error=error)
            self._numbers.take_off(marks)
            self._claims = True
            return ready, self._numbers.next_commit() if ready else 0

    def _write_commit(self, number: int, items: Sequence[Item]) -> _Written:
        links = dict(self._links)
        written: list[bytes] = []
        stored: list[tuple[Item, Stored]] = []
        changed: list[Item] = []
        others: list[Item] = []
        for item in items:
            institution = item.request.caller.institution
            link = links.get(institution, lines.START)
            line = self._line(item, number, link)
            if line is None:
                others.append(item)
                continue
            written.append(line)
            links[institution] = lines.follow(link, line)
            if _is(item, Decision.STORE):
                stored.append((item, _stored(item, number, len(stored))))
            elif item.extent is not None:
                changed.append(item)
            else:
                others.append(item)
        body = lines.commit_body(number, self._place.writer, self._voids, written)
        with telemetry.ingest_step("flush").time():
            offset = self._writer.commit(number, body)
        self._voids.clear()
        self._links = links
        for item, _ in stored:
            if isinstance(item.request, StoreRequest) and isinstance(item.request.payload, SpoolFile):
                item.request.payload.committed()
        end = Position(self._writer.name, offset, number)
        return _Written(end, stored, changed, others, links)

    def _line(self, item: Item, number: int, link: Link) -> bytes | None:
        request, decided = item.request, item.decided
        if isinstance(request, JournalRequest):
            return lines.journal_line(request, number, link)
        if isinstance(request, ChangeRequest):
            assert item.extent is not None
            return lines.change_line(request, (item.extent.instances, item.extent.last_commits), number, link)
        assert decided is not None
        if decided.decision is Decision.STORE:
            assert item.where is not None
            return lines.store_line(request, decided.version, (item.where,), number, link)
        if decided.decision is Decision.REFUSE:
            detail = (("instance", request.attributes.instance_uid), ("reason", str(decided.error)))
            refusal = JournalRequest(request.caller, Action.REFUSE, request.received_at, detail)
            return lines.journal_line(refusal, number, link)
        return None

    def _finish_what_is_left(self) -> None:
        """Write the rows of the durable commit that has none yet, answer it, and land.

        Raises:
            UnavailableError: the rows cannot be written; nothing more can be committed until they are.
        """
        written = self._left
        if written is None:
            return
        with telemetry.ingest_step("index").time(), self._numbers.locked():
            try:
                with transaction(self._connection):
                    differs = self._applier.add([stored for _, stored in written.stored])
                    for item in written.changed:
                        assert isinstance(item.request, ChangeRequest)
                        self._changes.apply(item.request, written.position.commit)
                    projection.mark_applied(self._connection, written.position, self._place.writer, written.links)
            except UnavailableError:
                self._applier.forget()
                raise
            self._left = None
            self._numbers.land()
            self._claims = False
        for (item, stored), disagrees in zip(written.stored, differs, strict=True):
            item.result = Committed(CommitKind.STORED, stored.number, patient_differs=disagrees)
        for item in written.changed:
            item.result = Committed(CommitKind.CHANGED, instances=item.extent.instances if item.extent else 0)
        for item in written.others:
            item.result = _answer(item.decided)

    def _land(self) -> None:
        with self._numbers.locked():
            self._numbers.land()
        self._claims = False


class _Studies:
    """The studies of a commit's instances; each is asked for once."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._changing: dict[tuple[str, str], bool] = {}
        self._growing: set[tuple[str, str]] = set()

    def is_changing(self, study: tuple[str, str]) -> bool:
        """Whether another writer changes it; under the lock."""
        found = self._changing.get(study)
        if found is None:
            found = self._changing[study] = self._numbers.in_flight_elsewhere(changing(*study))
        return found

    def grow(self, study: tuple[str, str]) -> None:
        """An instance of it takes off."""
        self._growing.add(study)

    def marks(self) -> list[bytes]:
        """Of those of which instances take off."""
        return [growing(*study) for study in self._growing]


def _is(item: Item, decision: Decision) -> bool:
    return item.decided is not None and item.decided.decision is decision


def _answer(decided: Decided | None) -> Committed:
    if decided is None:
        return Committed(CommitKind.JOURNALED)
    if decided.decision is Decision.DUPLICATE:
        return Committed(CommitKind.DUPLICATE, decided.version)
    return Committed(CommitKind.CONFLICT, error=decided.error)


def _stored(item: Item, commit: int, place: int) -> Stored:
    request = item.request
    assert isinstance(request, StoreRequest)
    assert item.decided is not None
    assert item.where is not None
    return Stored(
        institution=request.caller.institution,
        attributes=request.attributes,
        layout=request.layout,
        transfer_syntax=request.transfer_syntax,
        number=item.decided.version,
        digest=request.digest,
        crc32=request.crc32,
        size=request.payload.size,
        received_at=request.received_at,
        commit=commit,
        place=place,
        ranges=(item.where,),
    )
