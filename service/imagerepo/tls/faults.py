"""Why a handshake failed, in a sentence that tells whoever reads the log what to do."""

import ssl
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """What went wrong; the metrics' label."""

    PLAIN_BYTES = "plain_bytes"  # the peer does not speak TLS
    VERSION = "version"  # no protocol version in common
    CIPHER = "cipher"  # no cipher suite or key exchange in common
    NO_CERTIFICATE = "no_certificate"  # the peer showed none where one is required
    FOREIGN_CERTIFICATE = "foreign_certificate"  # the peer's is expired, of another authority, or of another name
    REFUSED_BY_PEER = "refused_by_peer"  # the peer refused ours, or what we offered
    LOST = "lost"  # the connection ended
    SILENT = "silent"  # nothing came in time
    UNREADY = "unready"  # our own certificate cannot be used


@dataclass(frozen=True, slots=True)
class Explained:
    """A failed handshake."""

    fault: Fault
    text: str


_BY_REASON: Final = {
    "HTTP_REQUEST": (Fault.PLAIN_BYTES, "plain HTTP where TLS is spoken"),
    "HTTPS_PROXY_REQUEST": (Fault.PLAIN_BYTES, "plain HTTP where TLS is spoken"),
    "WRONG_VERSION_NUMBER": (
        Fault.PLAIN_BYTES,
        "what came is not TLS: the other side speaks in the clear, or is older",
    ),
    "RECORD_LAYER_FAILURE": (Fault.PLAIN_BYTES, "what came is not TLS"),
    "PACKET_LENGTH_TOO_LONG": (Fault.PLAIN_BYTES, "what came is not TLS"),
    "BAD_RECORD_TYPE": (Fault.PLAIN_BYTES, "what came is not TLS"),
    "UNKNOWN_PROTOCOL": (Fault.VERSION, "the other side offers no TLS 1.2 or 1.3"),
    "UNSUPPORTED_PROTOCOL": (Fault.VERSION, "the other side offers no TLS 1.2 or 1.3"),
    "VERSION_TOO_LOW": (Fault.VERSION, "the other side offers no TLS 1.2 or 1.3"),
    "NO_PROTOCOLS_AVAILABLE": (Fault.VERSION, "the other side offers no TLS 1.2 or 1.3"),
    "TLSV1_ALERT_PROTOCOL_VERSION": (Fault.VERSION, "the other side speaks neither TLS 1.2 nor 1.3"),
    "NO_SHARED_CIPHER": (Fault.CIPHER, "no cipher suite in common: those of PS3.15 B.12 are offered"),
    "NO_SUITABLE_KEY_SHARE": (Fault.CIPHER, "no key exchange in common"),
    "NO_SHARED_GROUPS": (Fault.CIPHER, "no key exchange in common"),
    "NO_SUITABLE_SIGNATURE_ALGORITHM": (Fault.CIPHER, "no signature algorithm in common"),
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": (Fault.NO_CERTIFICATE, "the other side showed no certificate"),
}
_ALERT: Final = "ALERT_"


def explain(error: OSError) -> Explained:
    """What an error of a handshake, or of a connection after it, means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return Explained(
            Fault.FOREIGN_CERTIFICATE,
            f"the other side's certificate is not accepted: {error.verify_message.rstrip('.')}",
        )
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionError):
        return Explained(Fault.LOST, "the other side ended the connection amid the handshake")
    if isinstance(error, TimeoutError):
        return Explained(Fault.SILENT, "nothing came in time")
    reason: str = getattr(error, "reason", None) or ""
    known = _BY_REASON.get(reason)
    if known is not None:
        return Explained(*known)
    if _ALERT in reason:
        said = reason.partition(_ALERT)[2].lower().replace("_", " ")
        return Explained(
            Fault.REFUSED_BY_PEER, f"the other side refuses: {said} (look at its log, and its certificates)"
        )
    said = reason.lower().replace("_", " ") or str(error)
    return Explained(Fault.LOST, f"the TLS connection failed: {said}")
