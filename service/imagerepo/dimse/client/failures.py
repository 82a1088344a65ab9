"""What a peer did wrong, as one sentence that says what to do about it."""

import socket
from typing import Final

from imagerepo.dimse.associate import AnsweredContext, ContextResult
from imagerepo.dimse.client.statuses import explain
from imagerepo.dimse.pdu import AbortReason, AbortSource, PduType, RejectReason
from imagerepo.errors import PeerError, PeerFailure
from imagerepo.model.peer import Peer

_REASONS: Final[dict[int, str]] = {
    RejectReason.NO_REASON_GIVEN: "without a reason; its log may tell",
    RejectReason.APPLICATION_CONTEXT_NOT_SUPPORTED: "it does not speak DICOM's application context",
    RejectReason.CALLING_AE_NOT_RECOGNIZED: "it does not know our AE title {calling!r}; enter that there",
    RejectReason.CALLED_AE_NOT_RECOGNIZED: "it is not called {called!r}; look up its AE title",
    RejectReason.PROTOCOL_VERSION_NOT_SUPPORTED: "it does not know this protocol version",
    RejectReason.TEMPORARY_CONGESTION: "it is congested; try again later",
    RejectReason.LOCAL_LIMIT_EXCEEDED: "it has as many associations as it takes; try again later",
}
_TRANSIENT: Final = 2  # PS3.8 Table 9-21
_PASSING: Final = frozenset({RejectReason.TEMPORARY_CONGESTION, RejectReason.LOCAL_LIMIT_EXCEEDED})

_ABORTED_BY: Final[dict[int, str]] = {
    AbortSource.SERVICE_USER: "its application",
    AbortSource.SERVICE_PROVIDER: "its DICOM protocol layer",
}
_ABORT_REASONS: Final[dict[int, str]] = {
    int(one): one.name.lower().replace("_", " ") for one in AbortReason if one is not AbortReason.NOT_SPECIFIED
}

CONTEXT_RESULTS: Final[dict[ContextResult, str]] = {
    ContextResult.ACCEPTANCE: "accepted",
    ContextResult.USER_REJECTION: "rejected by its application",
    ContextResult.NO_REASON: "rejected without a reason",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "SOP class not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "transfer syntax not supported",
}


def _error(peer: Peer, what: str, failure: PeerFailure) -> PeerError:
    return PeerError(f"{peer}{what}", failure, f"{peer.name}{what}")


def unreachable(peer: Peer, error: OSError) -> PeerError:
    """No connection came about."""
    if isinstance(error, socket.gaierror):
        shown = f"the name {peer.host!r} is not known; correct the host"
    elif isinstance(error, ConnectionRefusedError):
        shown = "nothing listens there; correct host and port, or start it"
    elif isinstance(error, TimeoutError):
        shown = f"no answer within {peer.connect_timeout:g} s; correct host and port, or look at the firewall between"
    else:
        shown = error.strerror or str(error)
    return _error(peer, f" cannot be reached: {shown}", PeerFailure.UNREACHABLE)


def rejected(peer: Peer, calling: str, body: bytes) -> PeerError:
    """An A-ASSOCIATE-RJ came (PS3.8 section 9.3.4)."""
    result, reason = body[1], body[2] << 8 | body[3]
    shown = _REASONS.get(reason, f"source {body[2]}, reason {body[3]}").format(calling=calling, called=peer.ae_title)
    passes = result == _TRANSIENT or reason in _PASSING
    return _error(peer, f" rejects the association: {shown}", PeerFailure.BUSY if passes else PeerFailure.REJECTED)


def aborted(peer: Peer, doing: str, body: bytes) -> PeerError:
    """An A-ABORT came (PS3.8 section 9.3.8)."""
    by = _ABORTED_BY.get(body[2], "it") + (f", {reason}" if (reason := _ABORT_REASONS.get(body[3])) else "")
    return _error(peer, f" aborted the association ({by}) {doing}; its log may tell why", PeerFailure.ABORTED)


def lost(peer: Peer, doing: str, shown: str) -> PeerError:
    """The connection broke, or was closed without a word."""
    return _error(peer, f": the connection ended {doing}: {shown}", PeerFailure.ABORTED)


def silent(peer: Peer, doing: str, seconds: float) -> PeerError:
    """Nothing came, or nothing was taken, for as long as is allowed."""
    return _error(peer, f" was silent for {seconds:g} s {doing}; look whether it hangs", PeerFailure.SILENT)


def malformed(peer: Peer, doing: str, shown: str) -> PeerError:
    """What came is not what the standard has there."""
    return _error(peer, f" sent what DICOM does not have {doing}: {shown}", PeerFailure.MALFORMED)


def released(peer: Peer, doing: str) -> PeerError:
    """It ended the association in order, where an answer was due."""
    return _error(peer, f" released the association {doing}", PeerFailure.ABORTED)


def tls(peer: Peer, shown: str) -> PeerError:
    """The ends did not agree on how to speak in secret."""
    return _error(peer, f": no TLS connection: {shown}", PeerFailure.TLS)


def refused(peer: Peer, what: str, answer: AnsweredContext | None) -> PeerError:
    """No presentation context was accepted for what has to be done."""
    shown = "not answered" if answer is None else CONTEXT_RESULTS[answer.result]
    return PeerError(f"{peer} does not accept {what}: {shown}", PeerFailure.REFUSED, f"{peer.name}: {shown}: {what}")


def declined(peer: Peer, name: str, status: int, comment: str) -> PeerError:
    """It answered with a failure status."""
    return _error(peer, f" declines the {name}: {explain(status, comment)}", PeerFailure.DECLINED)


def not_dicom(peer: Peer, kind: int) -> PeerError:
    """Another PDU than an answer to the association request."""
    named = {int(one): one.name for one in PduType}
    shown = named.get(kind, f"type {kind:02X}H")
    return _error(
        peer, f" answered the association request with a PDU {shown}; is it a DICOM port?", PeerFailure.MALFORMED
    )
