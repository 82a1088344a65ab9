"""Certificates and keys from files, checked before anything relies on them.

OpenSSL's own errors name neither the file nor what to do, and it accepts an expired certificate without a word.
"""

import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from imagerepo.errors import SettingsError

_LARGEST: Final = 4 << 20  # bytes of a PEM file; all public authorities together take less than 1 MiB


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key, both readable and matching."""

    certificate: Path
    key: Path
    leaf: x509.Certificate

    @property
    def not_after(self) -> float:
        """When it expires, in seconds since the epoch."""
        return self.leaf.not_valid_after_utc.timestamp()


def read_pair(certificate: Path, key: Path, setting: str) -> Pair:
    """Read a certificate and its key; whether it is valid now is `check_period`'s.

    Args:
        certificate: PEM, the certificate first, then those that lead to a root.
        key: PEM, without passphrase.
        setting: where the two are named, such as "tls".

    Raises:
        SettingsError: names the field, the file and what is wrong.
    """
    leaf = read_certificates(certificate, f"{setting}.certificate")[0]
    if _public(_read_key(key, f"{setting}.key")) != leaf.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        raise SettingsError(
            f"{setting}.key: {key} is not the key of the certificate in {certificate} "
            f"({leaf.subject.rfc4514_string()}); the certificate has to be the first in its file"
        )
    return Pair(certificate, key, leaf)


def check_period(pair: Pair, setting: str) -> None:
    """Refuse a certificate that is not valid now. Raises SettingsError."""
    now = time.time()
    if pair.not_after < now:
        raise SettingsError(
            f"{setting}.certificate: {pair.certificate} expired at {pair.leaf.not_valid_after_utc.isoformat()}; "
            "renew it"
        )
    if pair.leaf.not_valid_before_utc.timestamp() > now:
        raise SettingsError(
            f"{setting}.certificate: {pair.certificate} is not valid before "
            f"{pair.leaf.not_valid_before_utc.isoformat()}; look at this machine's clock"
        )


def read_certificates(file: Path, setting: str) -> list[x509.Certificate]:
    """The certificates of a PEM file, at least one. Raises SettingsError."""
    content = _read(file, setting)
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        said = (
            "holds a private key, not a certificate" if b"PRIVATE KEY-----" in content else "has no certificate in PEM"
        )
        raise SettingsError(f"{setting}: {file} {said}") from error


def show(context: ssl.SSLContext, pair: Pair, setting: str) -> None:
    """Have `context` show this certificate. Raises SettingsError."""
    try:
        context.load_cert_chain(pair.certificate, pair.key)
    except (ssl.SSLError, OSError) as error:
        # Too small a key, a signature by SHA-1; or the files have just been exchanged.
        raise SettingsError(f"{setting}.certificate: {pair.certificate} cannot be used: {reason(error)}") from error


def trust(context: ssl.SSLContext, file: Path, setting: str) -> list[x509.Certificate]:
    """Have `context` verify peers against the certificates of a file, which are returned. Raises SettingsError."""
    found = read_certificates(file, setting)
    try:
        context.load_verify_locations(cadata=b"".join(one.public_bytes(Encoding.DER) for one in found))
    except ssl.SSLError as error:
        raise SettingsError(f"{setting}: {file} cannot be used: {reason(error)}") from error
    return found


def reason(error: OSError) -> str:
    """What OpenSSL or the system says, in words."""
    said = getattr(error, "reason", None) or error.strerror or str(error)
    return str(said).lower().replace("_", " ")


def _read_key(file: Path, setting: str) -> PrivateKeyTypes:
    content = _read(file, setting)
    try:
        return load_pem_private_key(content, None)
    except TypeError as error:
        raise SettingsError(
            f"{setting}: {file} has a passphrase; store the key without one, readable by us alone"
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        said = (
            "holds a certificate, not a private key"
            if b"-----BEGIN CERTIFICATE" in content
            else "has no private key in PEM"
        )
        raise SettingsError(f"{setting}: {file} {said}") from error


def _public(key: PrivateKeyTypes) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _read(file: Path, setting: str) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST + 1)
    except OSError as error:
        raise SettingsError(f"{setting}: cannot read {file}: {error.strerror}") from error
    if len(content) > _LARGEST:
        raise SettingsError(f"{setting}: {file} is larger than {_LARGEST} bytes; that is no PEM of certificates")
    return content
