"""The server's side: one context for each protocol, and what a client's certificate proves.

A context is made anew when a file has changed and never changed itself: connections keep the one they began with.

Source: PS3.15 B.12; RFC 9325; RFC 9525; RFC 4514 (names as text).
"""

import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from imagerepo.model.certificate import Certificate
from imagerepo.settings_tls import Tls
from imagerepo.tls import profile
from imagerepo.tls.material import Pair, read_pair, show, trust

_SUBJECT_LIMIT: Final = 200  # characters shown
_MODES: Final = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL}

Authorities = Mapping[str, tuple[x509.Certificate, ...]]
"""File of the settings -> the certificates in it."""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """One state of the server's certificates."""

    pair: Pair
    dimse: ssl.SSLContext
    http: ssl.SSLContext
    authorities: Authorities

    def identify(self, certificate: bytes | None) -> Certificate | None:
        """What a client's certificate proves, in DER, verified by TLS; None: it showed none, or an unreadable one."""
        return None if certificate is None else _identify(certificate, self.authorities)


def build(tls: Tls, client_authorities: Iterable[Path]) -> ServerTls:
    """Read all files.

    Args:
        tls: with certificate and key.
        client_authorities: files of those who issue client certificates; empty: no certificates are asked for.

    Raises:
        SettingsError: names the field, the file and what is wrong.
    """
    assert tls.certificate is not None
    assert tls.key is not None
    pair = read_pair(tls.certificate, tls.key, "tls")
    dimse, http = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    http.set_alpn_protocols(["http/1.1"])
    authorities: dict[str, tuple[x509.Certificate, ...]] = {}
    files = sorted(set(client_authorities))
    for context, clients in ((dimse, tls.dimse_clients), (http, tls.http_clients)):
        profile.apply(context)
        show(context, pair, "tls")
        for file in files:
            authorities[str(file)] = tuple(trust(context, file, "client_ca"))
        if files:
            # A device's own certificate may stand there as well as the authority's that issued it.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.verify_mode = _MODES[clients]
    return ServerTls(pair, dimse, http, authorities)


def _identify(der: bytes, authorities: Authorities) -> Certificate | None:
    try:
        leaf = x509.load_der_x509_certificate(der)
        return Certificate(
            names=frozenset(_names(leaf, der)),
            authorities=frozenset(_issuers(leaf, authorities)),
            not_after=leaf.not_valid_after_utc.timestamp(),
            subject=leaf.subject.rfc4514_string()[:_SUBJECT_LIMIT],
        )
    except ValueError:
        return None  # OpenSSL is more lenient than the library that reads names


def _names(leaf: x509.Certificate, der: bytes) -> Iterable[str]:
    yield f"sha256:{sha256(der).hexdigest()}"
    subject = leaf.subject.rfc4514_string()
    if subject:
        yield f"subject:{subject}"
    try:
        alternative = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return
    for name in alternative.get_values_for_type(x509.DNSName):
        yield f"dns:{name.lower()}"
    for name in alternative.get_values_for_type(x509.UniformResourceIdentifier):
        yield f"uri:{name}"
    for name in alternative.get_values_for_type(x509.RFC822Name):
        yield f"email:{name}"


def _issuers(leaf: x509.Certificate, authorities: Authorities) -> Iterable[str]:
    """Files that hold who issued a certificate, or itself.

    One file alone needs no look: whoever is verified is verified by it. Among several, one institution's authority
    must not vouch for another's devices.
    """
    if len(authorities) == 1:
        return list(authorities)
    return [file for file, held in authorities.items() if any(one == leaf or _issued(leaf, one) for one in held)]


def _issued(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    if leaf.issuer != authority.subject:
        return False
    try:
        leaf.verify_directly_issued_by(authority)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True
