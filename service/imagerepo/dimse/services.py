"""How a request becomes an operation; the table of services itself is in dimse/table.py.

A request becomes an operation, which takes the pieces of its data set as they come and responds when the last one
is there. A refused request takes its data set too, and drops it: the sender cannot be told before its end.

Source: PS3.7 section 9.1 (DIMSE-C Services) and Annex C (Status Type Encoding), PS3.4 Table B.2-1 (C-STORE).
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from imagerepo import telemetry
from imagerepo.dicom import part10
from imagerepo.dimse.messages import NO_ELEMENTS, Command, CommandField, Element, Status, Value
from imagerepo.dimse.negotiate import PresentationContext
from imagerepo.dimse.pdu import Framing
from imagerepo.errors import (
    BadDicomError,
    BadRequestError,
    ConflictError,
    ForbiddenError,
    ImagerepoError,
    MismatchError,
    OutOfSpaceError,
    RefusedError,
    TooLargeError,
    UnavailableError,
)
from imagerepo.flows.ingest.ingest import Announced, Arrival, Ingest
from imagerepo.model.arrival import OutcomeKind
from imagerepo.model.caller import Caller, Role
from imagerepo.model.uids import Uid, is_uid

if TYPE_CHECKING:
    from imagerepo.dimse.outgoing import Outgoing
    from imagerepo.flows.ingest.receive import Receiver

log = logging.getLogger(__name__)

# What each error is answered with, the first that fits. A7xx may be tried again, Cxxx may not.
_STATUS_OF: Final[tuple[tuple[type[ImagerepoError], Status], ...]] = (
    (UnavailableError, Status.OUT_OF_RESOURCES),
    (MismatchError, Status.DATA_SET_MISMATCH),
    (BadDicomError, Status.CANNOT_UNDERSTAND),
    (TooLargeError, Status.TOO_LARGE),
    (ConflictError, Status.CONFLICT),
    (ForbiddenError, Status.NOT_AUTHORIZED),
    (RefusedError, Status.CANNOT_UNDERSTAND),
)


def status_of(error: ImagerepoError | None) -> Status:
    """The status that an error is answered with; None: success."""
    if error is None:
        return Status.SUCCESS
    return next((status for kind, status in _STATUS_OF if isinstance(error, kind)), Status.PROCESSING_FAILURE)


class Exchange(Protocol):
    """What an association lends to the operation of one of its requests.

    What sends or receives may raise EndedError, InvalidPduError or MalformedCommandError: the association ends
    (released, aborted, lost, silent, stopped, or confused). The operation gives back what it holds and lets it pass.
    """

    @property
    def caller(self) -> Caller:
        """Who asks."""
        ...

    @property
    def calling_ae_title(self) -> str:
        """The requestor's AE title, as sent."""
        ...

    @property
    def called_ae_title(self) -> str:
        """The AE title that the requestor called us by."""
        ...

    @property
    def contexts(self) -> Mapping[int, PresentationContext]:
        """The association's accepted presentation contexts, by ID."""
        ...

    def framing(self, context: PresentationContext) -> Framing:
        """How data sets are sent in a context."""
        ...

    def respond(
        self,
        context: PresentationContext,
        request: Command,
        status: int,
        comment: str = "",
        *,
        elements: Mapping[Element, Value] = NO_ELEMENTS,
        data_set: bytes | None = None,
    ) -> None:
        """Send a response.

        Args:
            context: of the request.
            request: what is responded to.
            status: a pending one may be followed by further responses, any other is the last.
            comment: Error Comment; cut to what it holds.
            elements: further elements of the command, such as counts of sub-operations.
            data_set: sent behind it, encoded as the context's transfer syntax demands; None: there is none.
        """
        ...

    def respond_each(
        self, context: PresentationContext, request: Command, status: int, data_sets: Sequence[bytes]
    ) -> None:
        """Send a pending response for each data set, all at once; few enough to be held in memory."""
        ...

    def cancelled(self, request: Command) -> bool:
        """Whether a C-CANCEL for `request` has come; looks at what has arrived, without waiting.

        To be asked now and then by whatever takes long: this is how it learns that nobody waits any more.
        """
        ...

    def call(
        self,
        context: PresentationContext,
        command: Mapping[Element, Value],
        data: "Outgoing | None" = None,
        meanwhile: Callable[[], object] = ...,
    ) -> Command:
        """Send a request of ours on this association, and wait for its response.

        A C-CANCEL that comes meanwhile is remembered. A request that comes meanwhile is done, provided that the
        operation that calls has responded finally; otherwise the association is aborted.

        Args:
            context: one of `contexts`.
            command: all but Message ID and Command Data Set Type.
            data: its data set.
            meanwhile: called when all is sent, before the response is waited for; must not raise.
        """
        ...


class Operation(Protocol):
    """One request, up to its final response."""

    def write(self, piece: memoryview) -> None:
        """Take the next piece of the data set; it is valid during the call only."""
        ...

    def complete(self) -> None:
        """Everything has come: do it, and respond."""
        ...

    def close(self) -> None:
        """Give back what is held; called once, whatever happened before."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """A request and where it came in."""

    exchange: Exchange
    context: PresentationContext
    command: Command

    def respond(
        self,
        status: int,
        comment: str = "",
        *,
        elements: Mapping[Element, Value] = NO_ELEMENTS,
        data_set: bytes | None = None,
    ) -> None:
        """Send a response, as Exchange.respond."""
        self.exchange.respond(self.context, self.command, status, comment, elements=elements, data_set=data_set)

    def respond_each(self, status: int, data_sets: Sequence[bytes]) -> None:
        """Send pending responses, as Exchange.respond_each."""
        self.exchange.respond_each(self.context, self.command, status, data_sets)

    def cancelled(self) -> bool:
        """Whether it was cancelled, as Exchange.cancelled."""
        return self.exchange.cancelled(self.command)


Service: TypeAlias = Callable[[Request], Operation]


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the table of services."""

    name: str  # the label `service` of imagerepo_dimse_request_duration_seconds
    field: CommandField
    sop_classes: frozenset[str]
    service: Service


UNSUPPORTED: Final = "unsupported"  # the label of requests that no entry serves


class Services:
    """Finds what serves a request."""

    def __init__(self, table: Iterable[Entry]) -> None:
        """Index the table."""
        self._entries: Mapping[tuple[int, str], Entry] = {
            (entry.field, sop_class): entry for entry in table for sop_class in entry.sop_classes
        }

    @property
    def sop_classes(self) -> frozenset[str]:
        """All that is served."""
        return frozenset(sop_class for _, sop_class in self._entries)

    def begin(self, request: Request) -> tuple[str, Operation]:
        """The service's name and the operation that answers `request`."""
        context, command = request.context, request.command
        entry = self._entries.get((command.field, context.abstract_syntax))
        if entry is None:
            shown = f"operation {command.field:04X}H is not served for this SOP class"
            return UNSUPPORTED, Refusal(request, Status.UNRECOGNIZED_OPERATION, shown)
        named = command.text(Element.AFFECTED_SOP_CLASS_UID) or command.text(Element.REQUESTED_SOP_CLASS_UID)
        if named != context.abstract_syntax:
            shown = "SOP Class UID is not the presentation context's" if named else "SOP Class UID is missing"
            return entry.name, Refusal(request, Status.SOP_CLASS_NOT_SUPPORTED, shown)
        return entry.name, entry.service(request)


class Refusal:
    """Drop the data set, then respond with a failure."""

    def __init__(self, request: Request, status: Status, comment: str) -> None:
        self._request = request
        self._status = status
        self._comment = comment

    def write(self, piece: memoryview) -> None:
        """Drop it."""

    def complete(self) -> None:
        """Respond."""
        log.warning("dimse.request.refused", extra={"status": f"{self._status:04X}", "reason": self._comment})
        self._request.respond(self._status, self._comment)

    def close(self) -> None:
        """Nothing is held."""


class Echo:
    """C-ECHO (PS3.7 section 9.1.5): respond that we are there."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def write(self, piece: memoryview) -> None:
        """Drop it: C-ECHO has no data set."""

    def complete(self) -> None:
        """Respond."""
        self._request.respond(Status.SUCCESS)

    def close(self) -> None:
        """Nothing is held."""


def store(ingest: Ingest, request: Request) -> Operation:
    """C-STORE (PS3.7 section 9.1.1, PS3.4 Annex B): judge the command, then receive its data set."""
    command = request.command
    instance = command.text(Element.AFFECTED_SOP_INSTANCE_UID)
    sop_class = request.context.abstract_syntax
    if not is_uid(instance):
        shown = "malformed" if instance else "missing"
        error = BadRequestError(f"Affected SOP Instance UID (0000,1000) is {shown}")
        return RefusedStore(ingest, request, error, Status.INVALID_SOP_INSTANCE)
    if not request.exchange.caller.may(Role.WRITE):
        return RefusedStore(ingest, request, ForbiddenError("the caller may not store"), Status.NOT_AUTHORIZED)
    if not command.has_data_set:
        missing = BadRequestError("the C-STORE request announces no data set")
        return RefusedStore(ingest, request, missing, Status.CANNOT_UNDERSTAND)
    if not ingest.accepts():
        return RefusedStore(ingest, request, OutOfSpaceError("no room to ingest"), Status.OUT_OF_RESOURCES)
    return Store(ingest, request, Uid(sop_class), Uid(instance))


class RefusedStore:
    """Drop the data set of a C-STORE that was refused by its command, enter that into the journal, respond."""

    def __init__(self, ingest: Ingest, request: Request, error: ImagerepoError, status: Status) -> None:
        self._ingest = ingest
        self._request = request
        self._error = error
        self._status = status

    def write(self, piece: memoryview) -> None:
        """Drop it."""

    def complete(self) -> None:
        """Enter the refusal, respond."""
        fail(self._ingest, self._request, self._error, self._status)

    def close(self) -> None:
        """Nothing is held."""


def fail(ingest: Ingest, request: Request, error: ImagerepoError, status: Status) -> None:
    """Count a C-STORE that never became an arrival, enter a refusal into the journal, respond."""
    caller = request.exchange.caller
    if isinstance(error, RefusedError):
        ingest.refuse(caller, error)
    else:
        telemetry.ingest_instances.labels(caller.institution, OutcomeKind.UNAVAILABLE).inc()
    _respond(request, error, status)


class Store:
    """Receive a data set, hand it to ingest, respond with what became of it."""

    def __init__(self, ingest: Ingest, request: Request, sop_class: Uid, instance: Uid) -> None:
        syntax = Uid(request.context.transfer_syntax)
        prefix = part10.make_meta(sop_class, instance, syntax, request.exchange.calling_ae_title)
        self._ingest = ingest
        self._request = request
        self._announced = Announced(sop_class, instance, syntax, len(prefix))
        self._receiver: Receiver | None = ingest.receiver(prefix)
        self._error: ImagerepoError | None = None

    def write(self, piece: memoryview) -> None:
        """Append a piece; after a failure drop it, since the sender cannot be told before its end."""
        if self._receiver is None:
            return
        try:
            self._receiver.write(piece)
        except ImagerepoError as error:
            self._error = error
            self.close()

    def complete(self) -> None:
        """Store durably, respond."""
        if self._receiver is None:
            error = self._error or UnavailableError("the data set could not be received")
            fail(self._ingest, self._request, error, status_of(error))
            return
        arrival = Arrival(self._request.exchange.caller, self._receiver.payload(), self._announced)
        (outcome,) = self._ingest.store([arrival])
        if outcome.error is None:
            self._request.respond(Status.SUCCESS)
        else:
            _respond(self._request, outcome.error, status_of(outcome.error))

    def close(self) -> None:
        """Give back memory, and the file that no commit named."""
        if self._receiver is not None:
            self._receiver.release()
            self._receiver = None


def _respond(request: Request, error: ImagerepoError, status: Status) -> None:
    log.warning("dimse.store.failed", extra={"status": f"{status:04X}", "error": type(error).__name__})
    request.respond(status, str(error))
