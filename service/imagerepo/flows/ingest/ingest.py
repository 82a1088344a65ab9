"""Validate → identify → commit → answer: one way in for every protocol.

An outcome without error means that bytes and index row are durable and visible (ports/commits.py).
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from blake3 import blake3

from imagerepo import telemetry
from imagerepo.dicom import part10
from imagerepo.errors import ConflictError, ImagerepoError, MismatchError, RefusedError, UnavailableError
from imagerepo.flows.ingest.receive import Budget, Receiver
from imagerepo.model import checksum
from imagerepo.model.arrival import Buffer, InMemory, Outcome, OutcomeKind, Payload
from imagerepo.model.caller import Caller
from imagerepo.model.events import (
    Action,
    CommitKind,
    Committed,
    JournalRequest,
    OnDifference,
    Request,
    StoreRequest,
)
from imagerepo.model.uids import Uid
from imagerepo.ports.commits import Commits

_PIECE = 4 << 20  # bytes read at a time of what lies in a file
_REASON = 300  # characters of an error kept in the journal


@dataclass(frozen=True, slots=True)
class Announced:
    """What a C-STORE-RQ said of its data set; its File Meta Information was made here, as the payload's prefix."""

    sop_class_uid: Uid
    instance_uid: Uid
    transfer_syntax: Uid
    data_set_offset: int  # bytes of the prefix


@dataclass(frozen=True, slots=True)
class Arrival:
    """One file as it was received."""

    caller: Caller
    payload: Payload
    announced: Announced | None = None  # None: the file has File Meta Information of its own
    study_uid: Uid | None = None  # the only study that may be stored to, if the request names one


@dataclass(frozen=True, slots=True)
class Limits:
    """What one worker holds in memory, and what it accepts at all; bytes."""

    in_memory: int
    budget: int
    instance: int


class Ingest:
    """Stores arrivals. Safe to call from any number of threads."""

    def __init__(self, commits: Commits, limits: Limits, on_difference: Callable[[str], OnDifference]) -> None:
        """Assemble.

        Args:
            commits: makes them durable.
            limits: of memory and size.
            on_difference: by institution, as set at the time of asking.
        """
        self._commits = commits
        self._limits = limits
        self._budget = Budget(limits.budget)
        self._on_difference = on_difference

    def receiver(self, prefix: bytes = b"") -> Receiver:
        """Begin to receive one file, after `prefix`."""
        return Receiver(
            self._commits,
            self._budget,
            in_memory=self._limits.in_memory,
            limit=self._limits.instance,
            prefix=prefix,
        )

    def accepts(self) -> bool:
        """Whether there is room to ingest."""
        return self._commits.accepts()

    def store(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Store, in order, sharing one commit; blocks. One outcome an arrival, whatever befalls it."""
        started = time.perf_counter()
        requests = [self._request(arrival) for arrival in arrivals]
        validated = time.perf_counter()
        telemetry.ingest_step("validate").observe(validated - started)
        results = self._commits.commit([request for request, _ in requests])
        telemetry.ingest_step("commit").observe(time.perf_counter() - validated)
        outcomes = [
            _outcome(request, refusal, result) for (request, refusal), result in zip(requests, results, strict=True)
        ]
        for arrival, outcome in zip(arrivals, outcomes, strict=True):
            _count(arrival, outcome)
        return outcomes

    def refuse(self, caller: Caller, error: ImagerepoError) -> None:
        """Enter into journal and metrics what was refused before it could be an arrival; blocks."""
        self._commits.commit([_refusal(caller, error)])
        telemetry.ingest_instances.labels(caller.institution, OutcomeKind.REFUSED).inc()

    def _request(self, arrival: Arrival) -> tuple[Request, RefusedError | None]:
        try:
            return self._validate(arrival), None
        except RefusedError as error:
            return _refusal(arrival.caller, error), error

    def _validate(self, arrival: Arrival) -> StoreRequest:
        received_at = datetime.now(UTC)
        if isinstance(arrival.payload, InMemory):
            *prefix, body = arrival.payload.buffers
            read = _read(arrival, body, 0 if prefix else None)
            digest = blake3(memoryview(body)[read.skip :]).digest()
            crc32 = 0
            for buffer in arrival.payload.buffers:
                crc32 = checksum.crc32(buffer, crc32)
        else:
            with arrival.payload.map() as view:
                read = _read(arrival, view, arrival.announced.data_set_offset if arrival.announced else None)
            digest, crc32 = _digest_file(arrival.payload, read.skip)
        return StoreRequest(
            caller=arrival.caller,
            attributes=read.attributes,
            layout=read.layout,
            transfer_syntax=read.transfer_syntax,
            digest=digest,
            crc32=crc32,
            payload=arrival.payload,
            received_at=received_at,
            on_difference=self._on_difference(arrival.caller.institution),
        )


@dataclass(frozen=True, slots=True)
class _Read:
    """What was read of an arrival's last buffer."""

    attributes: part10.Attributes
    layout: part10.Layout
    transfer_syntax: Uid
    skip: int  # bytes before the data set in that buffer


def _read(arrival: Arrival, body: Buffer, skip: int | None) -> _Read:
    """Read the header; `skip` bytes precede the data set, None if File Meta Information has to say."""
    if arrival.announced is not None and skip is not None:
        syntax, offset = arrival.announced.transfer_syntax, arrival.announced.data_set_offset
    else:
        # What group 2 says of class and instance is not compared: files that disagree with it are common, and
        # the data set is what was meant.
        meta = part10.read_meta(body)
        syntax, offset = meta.transfer_syntax, meta.data_set_offset
        skip = offset
    with memoryview(body) as whole, whole[skip:] as data_set:
        attributes, layout = part10.read_data_set(data_set, syntax, offset)
    if arrival.announced is not None:
        source = "the C-STORE request"
        _same("SOP Class UID (0008,0016)", attributes.sop_class_uid, arrival.announced.sop_class_uid, source)
        _same("SOP Instance UID (0008,0018)", attributes.instance_uid, arrival.announced.instance_uid, source)
    if arrival.study_uid is not None:
        _same("Study Instance UID (0020,000D)", attributes.study_uid, arrival.study_uid, "the request's URL")
    return _Read(attributes, layout, syntax, skip)


def _same(name: str, found: str, expected: str, source: str) -> None:
    if found != expected:
        raise MismatchError(f"{name} is {found!r} in the data set but {expected!r} in {source}")


def _digest_file(payload: Payload, skip: int) -> tuple[bytes, int]:
    # Read in pieces, not through the map: mapped pages would count as this process's memory.
    assert not isinstance(payload, InMemory)
    hasher = blake3()
    crc32 = offset = 0
    while piece := payload.read(offset, _PIECE):
        crc32 = checksum.crc32(piece, crc32)
        hasher.update(memoryview(piece)[max(0, skip - offset) :])
        offset += len(piece)
    return hasher.digest(), crc32


def _refusal(caller: Caller, error: ImagerepoError) -> JournalRequest:
    detail = (("reason", str(error)[:_REASON]),)
    return JournalRequest(caller, Action.REFUSE, datetime.now(UTC), detail)


_KINDS = {CommitKind.DUPLICATE: OutcomeKind.DUPLICATE, CommitKind.CONFLICT: OutcomeKind.CONFLICT}


def _outcome(request: Request, refusal: RefusedError | None, result: Committed) -> Outcome:
    if not isinstance(request, StoreRequest):
        # A refusal stands even where its journal entry could not be made durable.
        return Outcome(OutcomeKind.REFUSED, None, None, None, None, 0, patient_differs=False, error=refusal)
    error = result.error
    if result.kind is CommitKind.FAILED:
        kind = OutcomeKind.UNAVAILABLE
        error = error or UnavailableError("the commit failed; send the instance again")
    elif result.kind is CommitKind.STORED:
        kind = OutcomeKind.STORED if result.version == 1 else OutcomeKind.NEW_VERSION
    else:
        kind = _KINDS[result.kind]
        if result.kind is CommitKind.CONFLICT:
            error = error or ConflictError("a different instance is stored under this SOP Instance UID")
    read = request.attributes
    return Outcome(
        kind,
        read.sop_class_uid,
        read.instance_uid,
        read.study_uid,
        read.series_uid,
        result.version,
        patient_differs=result.patient_differs,
        error=error,
    )


def _count(arrival: Arrival, outcome: Outcome) -> None:
    institution = arrival.caller.institution
    telemetry.ingested(institution, outcome.kind).inc()
    if outcome.kind in {OutcomeKind.STORED, OutcomeKind.NEW_VERSION}:
        telemetry.bytes_ingested(institution).inc(arrival.payload.size)
