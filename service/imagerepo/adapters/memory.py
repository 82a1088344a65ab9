"""The ports in memory: the shortest thing that keeps their promises, durability aside.

The conformance suite runs against it too, so it says what the others have to do. Every read looks at everything.
"""

import fnmatch
import mmap
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import RLock

from imagerepo.adapters.index_sql.rows import fold_name, patient_of
from imagerepo.adapters.segments.decide import Decision, Known, decide
from imagerepo.errors import DamagedError, NotFoundError
from imagerepo.model.arrival import Buffer, InMemory, Spooled
from imagerepo.model.events import CommitKind, Committed, JournalRequest, Request, StoreRequest
from imagerepo.model.instance import Attributes, Copy, Range, Version
from imagerepo.model.query import (
    Between,
    Equals,
    Found,
    InstanceRow,
    Key,
    Level,
    Match,
    OneOf,
    Query,
    SeriesRow,
    StudyRow,
    Wildcard,
)
from imagerepo.model.scope import Scope
from imagerepo.model.tier import Tier
from imagerepo.ports.index import Holdings

STORE = "memory"


@dataclass(slots=True)
class _Instance:
    position: int  # counts the first versions, from 1
    versions: list[tuple[Version, Attributes]]

    @property
    def current(self) -> tuple[Version, Attributes]:
        """The latest version."""
        return self.versions[-1]


@dataclass(slots=True)
class Memory:
    """What the adapters below share."""

    objects: dict[str, bytes] = field(default_factory=dict[str, bytes])
    instances: dict[tuple[str, str], _Instance] = field(default_factory=dict[tuple[str, str], _Instance])
    journal: list[Request] = field(default_factory=list[Request])
    lock: RLock = field(default_factory=RLock)

    def of(self, institution: str) -> list[_Instance]:
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
        institution, attributes = request.caller.institution, request.attributes
        known = self._memory.instances.get((institution, attributes.instance_uid))
        decided = decide(request, [_known(version) for version, _ in known.versions] if known else [])
        if decided.decision is Decision.DUPLICATE:
            return Committed(CommitKind.DUPLICATE, decided.version)
        if decided.decision is Decision.REFUSE:
            self._memory.journal.append(request)
            return Committed(CommitKind.CONFLICT, error=decided.error)
        if known is None:
            known = _Instance(len(self._memory.instances) + 1, [])
            self._memory.instances[institution, attributes.instance_uid] = known
        known.versions.append((self._version(request, len(known.versions) + 1), attributes))
        self._memory.journal.append(request)
        siblings = _in_study(self._memory.of(institution), attributes.study_uid)
        return Committed(CommitKind.STORED, len(known.versions), patient_differs=_patient_differs(siblings))

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


def _in_study(instances: Iterable[_Instance], study_uid: str) -> list[_Instance]:
    return [one for one in instances if one.current[1].study_uid == study_uid]


def _patient_differs(instances: Iterable[_Instance]) -> bool:
    return len({patient_of(instance.current[1]) for instance in instances}) > 1


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

    def expect(self, ranges: Iterable[Range]) -> None:
        """Nothing can be nearer."""


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
            found = _search(self._memory.of(query.institution), query)
        return found[query.offset : query.offset + query.limit]


def _within(version: Version, scope: Scope) -> bool:
    return (
        scope.study_uid in {None, version.study_uid}
        and scope.series_uid in {None, version.series_uid}
        and scope.instance_uid in {None, version.instance_uid}
    )


# Where a key's value stands in Attributes, if not under its own name in lower case.
_FIELD = {
    Key.STUDY_INSTANCE_UID: "study_uid",
    Key.SERIES_INSTANCE_UID: "series_uid",
    Key.SOP_INSTANCE_UID: "instance_uid",
    Key.BODY_PART_EXAMINED: "body_part",
    Key.PERFORMED_STEP_START_DATE: "performed_step_date",
    Key.PERFORMED_STEP_START_TIME: "performed_step_time",
    Key.MODALITIES_IN_STUDY: "modality",
}
_NAMES = frozenset({Key.PATIENT_NAME, Key.REFERRING_PHYSICIAN_NAME})
_FOLDED = _NAMES | {Key.STUDY_DESCRIPTION, Key.SERIES_DESCRIPTION}
_OF_SERIES_IN_STUDY = frozenset({Key.MODALITIES_IN_STUDY, Key.MODALITY})


def _search(instances: Sequence[_Instance], query: Query) -> list[Found]:
    """One row for each entity of the query's level, the latest first; a study or series is described by its first."""
    studies: dict[str, list[_Instance]] = {}
    for one in instances:
        studies.setdefault(one.current[1].study_uid, []).append(one)
    entities: list[tuple[int, Found]] = []
    for members in studies.values():
        if not _all_match(query, Level.STUDY, members):
            continue
        study = _study_row(members)
        if query.level is Level.STUDY:
            entities.append((members[0].position, Found(study)))
            continue
        series: dict[str, list[_Instance]] = {}
        for one in members:
            series.setdefault(one.current[1].series_uid, []).append(one)
        for inner in series.values():
            if not _all_match(query, Level.SERIES, inner):
                continue
            row = _series_row(inner)
            if query.level is Level.SERIES:
                entities.append((inner[0].position, Found(study, row)))
                continue
            entities += (
                (one.position, Found(study, row, _instance_row(one)))
                for one in inner
                if _all_match(query, Level.INSTANCE, [one])
            )
    entities.sort(key=lambda entity: entity[0], reverse=True)
    return [found for _, found in entities]


def _all_match(query: Query, level: Level, members: Sequence[_Instance]) -> bool:
    for key, match in query.matches:
        in_study = key is Key.MODALITIES_IN_STUDY or (key is Key.MODALITY and query.level is Level.STUDY)
        if (Level.STUDY if in_study else key.level) is not level:
            continue
        values = [_value(one.current[1], key) for one in (members if in_study else members[:1])]
        if not any(_matches(key, match, value) for value in values):
            return False
    return True


def _value(attributes: Attributes, key: Key) -> str:
    return str(getattr(attributes, _FIELD.get(key, key.name.lower())))


def _matches(key: Key, match: Match, value: str) -> bool:
    folded = _fold(key, value)
    match match:
        case Equals(wanted):
            return folded == _fold(key, wanted)
        case OneOf(wanted):
            return value in wanted
        case Between(low, high):
            # An absent value is in no range; a time with more digits is within its shorter end.
            return bool(value) and value >= low and (not high or value[: len(high)] <= high)
        case Wildcard(pattern):
            escaped = (pattern.casefold() if key in _FOLDED else pattern).replace("[", "[[]")
            return re.match(fnmatch.translate(escaped), folded) is not None


def _fold(key: Key, text: str) -> str:
    if key in _NAMES:
        return fold_name(text)
    return text.casefold() if key in _FOLDED else text


def _study_row(members: Sequence[_Instance]) -> StudyRow:
    one = members[0].current[1]
    return StudyRow(
        uid=one.study_uid,
        patient_id=one.patient_id,
        issuer_of_patient_id=one.issuer_of_patient_id,
        patient_name=one.patient_name,
        patient_birth_date=one.patient_birth_date,
        patient_sex=one.patient_sex,
        date=one.study_date,
        time=one.study_time,
        study_id=one.study_id,
        description=one.study_description,
        accession_number=one.accession_number,
        referring_physician_name=one.referring_physician_name,
        timezone_offset=one.timezone_offset,
        modalities=tuple(sorted({one.modality for member in members for _, one in member.versions} - {""})),
        series_count=len({member.current[1].series_uid for member in members}),
        instance_count=len(members),
        patient_differs=_patient_differs(members),
    )


def _series_row(members: Sequence[_Instance]) -> SeriesRow:
    one = members[0].current[1]
    return SeriesRow(
        uid=one.series_uid,
        modality=one.modality,
        number=one.series_number,
        description=one.series_description,
        body_part=one.body_part,
        performed_step_date=one.performed_step_date,
        performed_step_time=one.performed_step_time,
        instance_count=len(members),
    )


def _instance_row(instance: _Instance) -> InstanceRow:
    version, one = instance.current
    return InstanceRow(
        uid=one.instance_uid,
        sop_class_uid=one.sop_class_uid,
        number=one.instance_number,
        rows=one.rows,
        columns=one.columns,
        bits_allocated=one.bits_allocated,
        number_of_frames=one.number_of_frames,
        transfer_syntax=version.transfer_syntax,
    )
