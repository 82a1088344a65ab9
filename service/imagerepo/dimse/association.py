"""One association from its connection to its end: the acceptor's side of the state machine.

Its thread receives, looks up event and state in the table, acts, and does the requests itself: one operation at a
time. What goes wrong becomes an event as well, so that nothing but the table decides how an association ends.

Source: PS3.8 section 9.2 (state machine), section 7 (services); PS3.8 Annex E (PDV encoding), PS3.7 section 6.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Self

from imagerepo.dimse.associate import (
    APPLICATION_CONTEXT,
    PROTOCOL_VERSION,
    AssociateRequest,
    encode_accept,
    is_ae_title,
    parse_request,
)
from imagerepo.dimse.dialogue import Dialogue, InterruptedByPduError, Parties
from imagerepo.dimse.messages import MalformedCommandError
from imagerepo.dimse.negotiate import Agreement, Offer
from imagerepo.dimse.origin import Origin
from imagerepo.dimse.pdu import (
    RELEASE_RP,
    Abort,
    AbortReason,
    AbortSource,
    InvalidPduError,
    PduReader,
    PduType,
    Reject,
    RejectReason,
    RejectResult,
    StoppedError,
)
from imagerepo.dimse.refusals import Refusals
from imagerepo.dimse.services import Services
from imagerepo.dimse.states import EVENT_OF_PDU, NEXT_STATE, TRANSITIONS, Action, Event, State
from imagerepo.dimse.transport import EndedError, SilenceError, TransportClosedError
from imagerepo.errors import ForbiddenError, NotFoundError, RefusedError
from imagerepo.flows.repository import Repository
from imagerepo.model.caller import USER, Caller, Protocol

log = logging.getLogger(__name__)

ARTIM: Final = 10.0
"""Seconds for the association request to come whole, and for the peer to close after the end; an idle timeout
that is shorter counts instead."""
_TLS_HANDSHAKE: Final = 0x16  # the first byte of TLS (RFC 8446 section 5.1)
_ARTIM_STOPPED: Final = 0.5  # seconds for the peer to close once we were told to stop


@dataclass(frozen=True, slots=True)
class Acceptor:
    """What all associations of a server share."""

    repository: Repository
    offer: Offer
    services: Services
    admit: Callable[[], RejectReason | None]
    """Take a place for an association; the reason if there is none."""
    leave: Callable[[], None]
    """Give the place back."""
    refusals: Refusals


class Association:
    """One association; `run` is its thread's work, `stop` may be called by another one."""

    def __init__(self, acceptor: Acceptor, reader: PduReader, origin: Origin) -> None:
        """Take over a connection whose next byte is a PDU's first."""
        self._acceptor = acceptor
        self._reader = reader
        self._origin = origin
        self._address = origin.address
        self._why = ""  # it is rejected, in words
        self._state = State.IDLE
        self._artim = min(ARTIM, acceptor.repository.settings.dimse.idle_timeout)
        self._artim_runs = False
        self._admitted = False
        self._lost = False  # whether PDUs can no longer be told apart
        self._invalid = AbortReason.UNEXPECTED_PDU
        self._abort = Abort(AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED)
        self._request: AssociateRequest | None = None
        self._caller: Caller | None = None
        self._agreement: Agreement | None = None
        self._reject = Reject(RejectResult.PERMANENT, RejectReason.NO_REASON_GIVEN)
        self._dialogue: Dialogue | None = None
        self._resting_since: float | None = None  # monotonic seconds
        self._actions: dict[Action, Callable[[], Event | None]] = {
            Action.START_ARTIM_FOR_RQ: self._start_artim,
            Action.JUDGE_ASSOCIATE_RQ: self._judge,
            Action.SEND_ASSOCIATE_AC: self._accept,
            Action.SEND_ASSOCIATE_RJ: self._send_reject,
            Action.INDICATE_P_DATA: self._receive_data,
            Action.INDICATE_RELEASE: self._release,
            Action.SEND_RELEASE_RP_AND_START_ARTIM: self._send_release,
            Action.ABORT_AS_USER: self._abort_as_user,
            Action.ABORT_AS_PROVIDER: self._abort_as_provider,
            Action.ABORT_AGAIN: self._abort_again,
            Action.INDICATE_ABORT_AND_CLOSE: self._aborted_by_peer,
            Action.INDICATE_PROVIDER_ABORT: self._connection_lost,
        }  # the others of the acceptor's change the state only

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close_dialogue()
        if self._admitted:
            self._admitted = False
            self._acceptor.leave()

    def stop(self) -> None:
        """End the association as soon as its request in progress is answered."""
        self._artim = min(self._artim, _ARTIM_STOPPED)
        self._reader.stop()

    def rests(self, seconds: float) -> bool:
        """Whether it has stood for so long without a request."""
        since = self._resting_since
        return since is not None and time.monotonic() - since >= seconds

    def run(self) -> None:
        """Serve the association until its connection may be closed."""
        event: Event | None = Event.TRANSPORT_INDICATION
        while True:
            event = self._handle(event or self._next())
            if self._state is State.IDLE:
                return

    def _handle(self, event: Event) -> Event | None:
        """Act as the table says; returns the local event that follows at once, if one does."""
        action = TRANSITIONS[self._state, event]
        if event is not Event.INVALID_PDU:
            self._invalid = AbortReason.UNEXPECTED_PDU
        self._state = NEXT_STATE[action]
        act = self._actions.get(action)
        if act is None:
            return None
        try:
            return act()
        except (InvalidPduError, MalformedCommandError, EndedError) as error:
            return self._event_of(error)

    def _next(self) -> Event:
        """Receive a PDU: all of it, or of one that carries data the header."""
        reader = self._reader
        try:
            if self._lost:
                while True:
                    reader.piece(1 << 20)
            if reader.unread:
                reader.skip(reader.unread)
                reader.unread = 0
            if self._state is State.DATA_TRANSFER:
                self._resting_since = time.monotonic()
            return self._next_pdu()
        except (InvalidPduError, EndedError) as error:
            return self._event_of(error)
        finally:
            self._resting_since = None

    def _next_pdu(self) -> Event:
        kind, length = self._reader.header()
        event = EVENT_OF_PDU.get(kind)
        if event is None:
            said = " (TLS; setting tls.dicom_listen gives it a port)" if kind == _TLS_HANDSHAKE else ""
            raise InvalidPduError(f"PDU type {kind:02X}H{said}", AbortReason.UNRECOGNIZED_PDU)
        if event is Event.P_DATA_PDU:
            limit = self._acceptor.offer.max_pdu
            if not 0 < length <= limit:
                raise InvalidPduError(f"a P-DATA-TF PDU of {length} bytes; 1 to {limit} are accepted")
            self._reader.unread = length
        else:
            self._read_body(kind, self._reader.body(length))
        return event

    def _read_body(self, kind: int, body: memoryview) -> None:
        if kind in {PduType.RELEASE_RQ, PduType.RELEASE_RP, PduType.ABORT, PduType.ASSOCIATE_RJ} and len(body) != 4:
            raise InvalidPduError(f"a PDU of type {kind:02X}H with {len(body)} bytes instead of 4")
        if kind == PduType.ASSOCIATE_RQ and self._state is State.AWAITING_ASSOCIATE_RQ:
            self._request = parse_request(body)

    def _event_of(self, error: Exception) -> Event:
        """The event that something gone wrong amounts to in the present state."""
        if isinstance(error, InterruptedByPduError):
            return error.event
        timed = self._state in {State.AWAITING_ASSOCIATE_RQ, State.AWAITING_TRANSPORT_CLOSE}
        if isinstance(error, InvalidPduError):
            self._lost = True
            self._invalid = error.reason
            self._log("dimse.pdu.invalid", reason=str(error))
            return Event.INVALID_PDU
        if isinstance(error, MalformedCommandError):
            self._log("dimse.command.malformed", reason=str(error))
            return Event.ABORT_REQUEST
        if isinstance(error, TransportClosedError):
            return Event.TRANSPORT_CLOSED
        stopped = isinstance(error, StoppedError)
        if stopped:
            self._reader.resume()
        if timed:
            return Event.ARTIM_EXPIRED
        ended = "stopped" if stopped else "idle" if isinstance(error, SilenceError) else "broken_off"
        self._log(f"dimse.association.{ended}", reason=str(error))
        self._abort = Abort(AbortSource.SERVICE_PROVIDER, AbortReason.NOT_SPECIFIED)
        return Event.ABORT_REQUEST

    # Association establishment (PS3.8 Table 9-6)

    def _start_artim(self) -> None:
        self._reader.set_deadline(self._artim)

    def _judge(self) -> Event | None:
        self._reader.set_deadline(None)
        request = self._request
        assert request is not None
        if not request.protocol_version & PROTOCOL_VERSION:
            # The service provider itself rejects: the user is not asked (the other end of AE-6).
            self._reject = Reject(RejectResult.PERMANENT, RejectReason.PROTOCOL_VERSION_NOT_SUPPORTED)
            self._state = State.AWAITING_TRANSPORT_CLOSE
            self._send_reject()
            return None
        reject = self._refuse(request)
        if reject is not None:
            self._reject = reject
            return Event.REJECT_RESPONSE
        self._admitted = True
        self._agreement = self._acceptor.offer.agree(request)
        assert self._caller is not None
        self._answer_identity(request, self._caller)
        self._dialogue = Dialogue(
            self._reader,
            self._agreement,
            self._acceptor.services,
            Parties(self._caller, request.calling, request.called),
            self._next_pdu,
        )
        return Event.ACCEPT_RESPONSE

    def _answer_identity(self, request: AssociateRequest, caller: Caller) -> None:
        """Tell a user that asked for it that it is known (PS3.7 D.3.3.7.2); of a passcode there is no more to say."""
        assert self._agreement is not None
        identity = request.user.identity
        if identity is not None and identity.response_requested and caller.name.startswith(USER):
            user = replace(self._agreement.user, identity_response=b"")
            self._agreement = replace(self._agreement, user=user)

    def _refuse(self, request: AssociateRequest) -> Reject | None:
        if request.application_context != APPLICATION_CONTEXT:
            return Reject(RejectResult.PERMANENT, RejectReason.APPLICATION_CONTEXT_NOT_SUPPORTED)
        if not is_ae_title(request.calling):
            return Reject(RejectResult.PERMANENT, RejectReason.CALLING_AE_NOT_RECOGNIZED)
        try:
            access = self._acceptor.repository.access
            origin = self._origin
            self._caller = access.association(
                request.called, request.calling, origin.address, origin.certificate, origin.passcode(request)
            )
        except NotFoundError as error:
            self._journal(request, error)
            return Reject(RejectResult.PERMANENT, RejectReason.CALLED_AE_NOT_RECOGNIZED)
        except ForbiddenError as error:
            self._journal(request, error)
            return Reject(RejectResult.PERMANENT, RejectReason.CALLING_AE_NOT_RECOGNIZED)
        reason = self._acceptor.admit()
        return None if reason is None else Reject(RejectResult.TRANSIENT, reason)

    def _journal(self, request: AssociateRequest, error: RefusedError) -> None:
        """Enter a refused association into the journal of the institution that was called, if one was."""
        self._why = str(error)
        access = self._acceptor.repository.access
        institutions = access.institutions()
        if len(institutions) > 1:
            institutions = access.called(request.called)
        for institution in institutions[:1]:
            caller = Caller(institution, f"ae:{request.calling}", self._address, Protocol.DIMSE, frozenset())
            self._acceptor.refusals.enter(caller, error)

    def _accept(self) -> None:
        assert self._request is not None
        assert self._agreement is not None
        self._log("dimse.association.accepted", contexts=len(self._agreement.contexts))
        self._reader.send(encode_accept(self._request, self._agreement.answers, self._agreement.user))

    def _send_reject(self) -> None:
        self._log("dimse.association.rejected", reason=self._reject.reason.name, why=self._why)
        self._end_with(self._reject.encode())

    # Data transfer (PS3.8 Table 9-7)

    def _receive_data(self) -> None:
        assert self._dialogue is not None
        self._dialogue.receive()

    def _close_dialogue(self) -> None:
        if self._dialogue is not None:
            self._dialogue.close()

    # Release and abort (PS3.8 Tables 9-8 and 9-9)

    def _release(self) -> Event:
        self._log("dimse.association.released")
        return Event.RELEASE_RESPONSE

    def _send_release(self) -> None:
        self._end_with(RELEASE_RP)

    def _abort_as_user(self) -> None:
        self._log("dimse.association.aborted", source=self._abort.source.name)
        self._end_with(self._abort.encode())

    def _abort_as_provider(self) -> None:
        self._log("dimse.association.aborted", source="SERVICE_PROVIDER", reason=self._invalid.name)
        self._end_with(Abort(AbortSource.SERVICE_PROVIDER, self._invalid).encode())

    def _abort_again(self) -> None:
        self._reader.send(Abort(AbortSource.SERVICE_PROVIDER, self._invalid).encode())

    def _aborted_by_peer(self) -> None:
        self._log("dimse.association.aborted", source="PEER")

    def _connection_lost(self) -> None:
        self._log("dimse.association.lost")

    def _end_with(self, pdu: bytes) -> None:
        """Send an association's last PDU; ARTIM runs until the peer closes."""
        self._close_dialogue()
        self._reader.set_deadline(self._artim)
        self._reader.send(pdu)

    def _log(self, event: str, **fields: str | int) -> None:
        request = self._request
        if request is not None:
            fields |= {"calling": request.calling[:16], "called": request.called[:16]}
        log.info(event, extra={"address": self._address, **fields})
