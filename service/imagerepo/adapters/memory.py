"""The ports in memory: the shortest thing that keeps their promises, durability aside.

The conformance suite runs against it too, so it says what the others have to do. Every read looks at everything.
"""

import mmap
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from threading import RLock

from imagerepo.adapters.memory_search import StoredInstance, patient_differs, search
from imagerepo.adapters.segments.decide import Decision, History, Known, decide
from imagerepo.errors import DamagedError, ForgottenError, HeldError, NotFoundError
from imagerepo.model.arrival import Buffer, InMemory, Spooled
from imagerepo.model.change import Change, ChangeKind
from imagerepo.model.events import (
    Action,
    ChangeRequest,
    CommitKind,
    Committed,
    JournalRequest,
    Request,
    StoreRequest,
)
from imagerepo.model.hold import Hold
from imagerepo.model.instance import Copy, Range, Version
from imagerepo.model.query import Found, Query
from imagerepo.model.scope import Scope
from imagerepo.model.tier import Tier
from imagerepo.ports.feed import ChangePage, Mark, Marks
from imagerepo.ports.index import Holdings

STORE = "memory"
_KINDS = {
    Action.DELETE: ChangeKind.DELETED,
    Action.HOLD: ChangeKind.HELD,
    Action.RELEASE: ChangeKind.RELEASED,
}
_PAGE = 3  # entities: few, so that whoever pages is seen to


@dataclass(slots=True)
class Memory:
    """What the adapters below share."""

    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    instances: dict[tuple[str, str], StoredInstance] = field(default_factory=dict[tuple[str, str], StoredInstance])
    journal: list[Request] = field(default_factory=list[Request])
    gone: dict[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])  # last version numbers
    holds: dict[tuple[str, str], Hold] = field(default_factory=dict[tuple[str, str], Hold])  # by study
    changes: list[tuple[str, Change]] = field(default_factory=list[tuple[str, Change]])  # by institution
    positions: Iterator[int] = field(default_factory=lambda: count(1))
    lock: RLock = field(default_factory=RLock)

    def of(self, institution: str) -> list[StoredInstance]:
        """An institution's instances, in order of storing."""
        with self.lock:
            return [one for (owner, _), one in self.instances.items() if owner == institution]


class MemorySpool:
    """A payload in an unnamed temporary file (model.arrival.Spooled)."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `discard`, or with the last reference
        self.size = 0

    def write(self, chunk: Buffer) -> None:
        """Append."""
        self._file.write(chunk)
        self.size += len(chunk)

    def read(self, offset: int, length: int) -> bytes:
        """Read back."""
        self._file.flush()
        self._file.seek(offset)
        piece = self._file.read(length)
        self._file.seek(self.size)
        return piece

    def map(self) -> mmap.mmap:
        """A read-only view of what was written."""
        self._file.flush()
        return mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ)

    def discard(self) -> None:
        """Remove it."""
        self._file.close()


class MemoryCommits:
    """ports.commits.Commits."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def commit(self, requests: Sequence[Request]) -> Sequence[Committed]:
        """Commit, in order."""
        with self._memory.lock:
            return [self._commit(request) for request in requests]

    def spool(self) -> Spooled:
        """Open a place for an instance too large for memory."""
        return MemorySpool()

    def accepts(self) -> bool:
        """Whether there is room to ingest: always."""
        return True

    def _commit(self, request: Request) -> Committed:
        if isinstance(request, JournalRequest):
            self._memory.journal.append(request)
            return Committed(CommitKind.JOURNALED)
        if isinstance(request, ChangeRequest):
            return self._change(request)
        institution, attributes = request.caller.institution, request.attributes
        known = self._memory.instances.get((institution, attributes.instance_uid))
        last = self._memory.gone.get((institution, attributes.instance_uid), 0)
        decided = decide(request, History([_known(version) for version, _ in known.versions] if known else [], last))
        if decided.decision is Decision.DUPLICATE:
            return Committed(CommitKind.DUPLICATE, decided.version)
        if decided.decision is Decision.REFUSE:
            self._memory.journal.append(request)
            return Committed(CommitKind.CONFLICT, error=decided.error)
        if known is None:
            known = StoredInstance(next(self._memory.positions), [])
            self._memory.instances[institution, attributes.instance_uid] = known
        known.versions.append((self._version(request, decided.version), attributes))
        self._memory.journal.append(request)
        self._tell(request, ChangeKind.STORED, version=decided.version)
        siblings = _in_study(self._memory.of(institution), attributes.study_uid)
        return Committed(CommitKind.STORED, decided.version, patient_differs=patient_differs(siblings))

    def _change(self, request: ChangeRequest) -> Committed:
        institution, memory = request.caller.institution, self._memory
        names = (institution, request.study_uid)
        scope = Scope(institution, request.study_uid, request.series_uid, request.instance_uid)
        doomed = [one.current[0] for one in memory.of(institution) if _within(one.current[0], scope)]
        is_there = names in memory.holds if request.action is Action.RELEASE else bool(doomed)
        if not is_there:
            return Committed(CommitKind.FAILED, error=NotFoundError(f"no {request.name} here, or no hold"))
        if request.action is Action.RELEASE:
            del memory.holds[names]
        elif request.action is Action.HOLD:
            memory.holds[names] = Hold(request.study_uid, request.at, request.caller.name, request.reason)
        elif names in memory.holds:
            return Committed(CommitKind.FAILED, error=HeldError(f"study {request.study_uid} is held"))
        else:
            for one in doomed:
                memory.gone[institution, one.instance_uid] = one.number
                del memory.instances[institution, one.instance_uid]
        memory.journal.append(request)
        self._tell(request, _KINDS[request.action], instances=len(doomed) if request.action is Action.DELETE else 0)
        return Committed(CommitKind.CHANGED, instances=len(doomed))

    def _tell(
        self, request: StoreRequest | ChangeRequest, kind: ChangeKind, version: int = 0, instances: int = 0
    ) -> None:
        of = request.attributes if isinstance(request, StoreRequest) else request
        change = Change(
            id=str(len(self._memory.changes)),
            kind=kind,
            at=request.received_at if isinstance(request, StoreRequest) else request.at,
            caller=request.caller.name,
            study_uid=of.study_uid,
            series_uid=of.series_uid,
            instance_uid=of.instance_uid,
            version=version,
            instances=instances,
            reason="" if isinstance(request, StoreRequest) else request.reason,
        )
        self._memory.changes.append((request.caller.institution, change))

    def _version(self, request: StoreRequest, number: int) -> Version:
        key = str(len(self._memory.objects))
        payload = request.payload
        if isinstance(payload, InMemory):
            self._memory.objects[key] = b"".join(payload.buffers)
        else:
            self._memory.objects[key] = payload.read(0, payload.size)
        attributes = request.attributes
        return Version(
            institution=request.caller.institution,
            study_uid=attributes.study_uid,
            series_uid=attributes.series_uid,
            instance_uid=attributes.instance_uid,
            sop_class_uid=attributes.sop_class_uid,
            transfer_syntax=request.transfer_syntax,
            number=number,
            digest=request.digest,
            crc32=request.crc32,
            size=payload.size,
            received_at=request.received_at,
            layout=request.layout,
            copy=Copy((Range(STORE, key, 0, payload.size),), Tier.HOT),
        )


def _known(one: Version) -> Known:
    return Known(one.number, one.digest, one.transfer_syntax, one.study_uid, one.series_uid)


def _in_study(instances: Iterable[StoredInstance], study_uid: str) -> list[StoredInstance]:
    return [one for one in instances if one.current[1].study_uid == study_uid]


class MemoryObjects:
    """ports.objects.Objects."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def read(self, where: Range) -> bytes:
        """Read all of `where`. Raises DamagedError."""
        piece = self._memory.objects.get(where.key, b"")[where.offset : where.offset + where.length]
        if len(piece) != where.length:
            raise DamagedError(f"object {where.key} ends before byte {where.offset + where.length}")
        return piece

    def read_into(self, where: Range, room: memoryview) -> None:
        """Fill `room`. Raises DamagedError."""
        room[:] = self.read(where)

    def read_at_hand(self, where: Range, room: memoryview) -> bool:
        """Likewise: never waits."""
        self.read_into(where, room)
        return True

    def lend(self, where: Range) -> memoryview | None:
        """A view of what is kept."""
        try:
            return memoryview(self.read(where))
        except DamagedError:
            return None

    def generation(self) -> int:
        """Bytes of what is deleted stay."""
        return 0

    def expect(self, ranges: Iterable[Range]) -> None:
        """Nothing can be nearer."""

    def warm(self, ranges: Iterable[Range]) -> None:
        """All of it is in memory."""


class MemoryChangeFeed:
    """ports.feed.ChangeFeed: a mark counts all changes before it."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def now(self, institution: str) -> Marks:  # noqa: ARG002 - one list for all
        """Behind all that there is."""
        return {STORE: Mark("", len(self._memory.changes))}

    def since(self, institution: str, marks: Marks, limit: int) -> ChangePage:
        """What changed after `marks`. Raises ForgottenError."""
        begin = marks.get(STORE, Mark("", 0)).position
        with self._memory.lock:
            if begin > len(self._memory.changes):
                raise ForgottenError(f"there are {len(self._memory.changes)} changes, not {begin}")
            page = self._memory.changes[begin : begin + limit]
            found = [change for owner, change in page if owner == institution]
            end = begin + len(page)
            return ChangePage(found, {STORE: Mark("", end)}, end < len(self._memory.changes))

    def stamps(self, institutions: Sequence[str]) -> Mapping[str, str]:
        """How many there are."""
        return dict.fromkeys(institutions, str(len(self._memory.changes)))


class MemoryHolds:
    """ports.holds.Holds."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def of(self, institution: str, study_uid: str) -> Hold | None:
        """A study's hold, if there is one."""
        return self._memory.holds.get((institution, study_uid))

    def page(self, institution: str, after: str, limit: int) -> Sequence[Hold]:
        """An institution's holds in order of Study Instance UID."""
        with self._memory.lock:
            found = sorted(study for owner, study in self._memory.holds if owner == institution and study > after)
            return [self._memory.holds[institution, study] for study in found[:limit]]


class MemoryMetadataCache:
    """ports.index.MetadataCache."""

    def __init__(self) -> None:
        self._frames: dict[tuple[str, str, int], bytes] = {}

    def get(self, versions: Sequence[Version]) -> Sequence[bytes | None]:
        """What is kept of each."""
        return [self._frames.get((one.institution, one.instance_uid, one.number)) for one in versions]

    def put(self, entries: Sequence[tuple[Version, bytes]]) -> None:
        """Keep these frames."""
        self._frames.update({(one.institution, one.instance_uid, one.number): frame for one, frame in entries})


class MemoryIndex:
    """ports.index.Index."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def version(self, scope: Scope) -> Version:
        """The version that `scope` names. Raises NotFoundError."""
        known = self._memory.instances.get((scope.institution, scope.instance_uid or ""))
        if known is not None:
            for version, _ in known.versions:
                if version.number == (scope.version or known.current[0].number) and _within(version, scope):
                    return version
        raise NotFoundError("no such instance or version")

    def versions(self, scope: Scope, after: int, limit: int) -> Sequence[tuple[int, Version]]:
        """A page of current versions, by series, then in order of storing."""
        with self._memory.lock:
            current = [(one.position, one.current[0]) for one in self._memory.of(scope.institution)]
        found = [(position, one) for position, one in current if _within(one, scope)]
        if not found:
            raise NotFoundError("no such study, series or instance")
        first = {one.series_uid: position for position, one in reversed(found)}
        found.sort(key=lambda entry: (first[entry[1].series_uid], entry[0]))
        start = next((number for number, entry in enumerate(found, 1) if entry[0] == after), 0)
        return found[start : start + limit]

    def arrivals(self, after: int, limit: int) -> Sequence[tuple[int, Version]]:
        """A page of all current versions, in order of first arrival."""
        with self._memory.lock:
            found = [(one.position, one.current[0]) for one in self._memory.instances.values()]
        return sorted((entry for entry in found if entry[0] > after), key=lambda entry: entry[0])[:limit]

    def last_arrival(self) -> int:
        """The position of the instance that arrived last."""
        with self._memory.lock:
            return max((one.position for one in self._memory.instances.values()), default=0)

    def settle(self) -> None:
        """Nothing."""

    def study_of(self, scope: Scope) -> str:
        """The study that holds a series or instance. Raises NotFoundError."""
        return self.versions(scope, 0, 1)[0][1].study_uid

    def holdings(self) -> Mapping[str, Holdings]:
        """What every institution has."""
        with self._memory.lock:
            return {owner: self._holdings(owner) for owner in sorted({owner for owner, _ in self._memory.instances})}

    def _holdings(self, institution: str) -> Holdings:
        instances = self._memory.of(institution)
        size = sum(version.size for one in instances for version, _ in one.versions)
        studies = {one.current[0].study_uid for one in instances}
        series = {one.current[0].series_uid for one in instances}
        return Holdings(len(studies), len(series), len(instances), {Tier.HOT: size})

    def check(self) -> None:
        """Do nothing: memory can always be read."""

    def search(self, query: Query) -> Sequence[Found]:
        """Entities that match, the latest stored first."""
        with self._memory.lock:
            found = search(self._memory.of(query.institution), query)
        return found[query.offset : query.offset + query.limit]

    def pages(self, query: Query) -> Iterator[Sequence[Found]]:
        """Likewise, a few at a time."""
        found = self.search(query)
        for begin in range(0, len(found), _PAGE):
            yield found[begin : begin + _PAGE]


def _within(version: Version, scope: Scope) -> bool:
    return (
        scope.study_uid in {None, version.study_uid}
        and scope.series_uid in {None, version.series_uid}
        and scope.instance_uid in {None, version.instance_uid}
    )
