"""Certificates and keys from files, checked before anything relies on them.

OpenSSL's own errors name neither the file nor what to do, and it accepts an expired certificate without a word.
"""

import os
import ssl
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from imagerepo.errors import SettingsError

_LARGEST: Final = 4 << 20  # bytes of a PEM file; all public authorities together take less than 1 MiB


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its key as they were read, matching."""

    certificate: Path
    key: Path
    leaf: x509.Certificate
    pem: bytes = field(repr=False)  # of both

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
    pem, key_pem = _read(certificate, f"{setting}.certificate"), _read(key, f"{setting}.key")
    leaf = _certificates(pem, certificate, f"{setting}.certificate")[0]
    if _public(_key(key_pem, key, f"{setting}.key")) != leaf.public_key().public_bytes(
        Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ):
        raise SettingsError(
            f"{setting}.key: {key} is not the key of the certificate in {certificate} "
            f"({leaf.subject.rfc4514_string()}); the certificate has to be the first in its file"
        )
    return Pair(certificate, key, leaf, pem + b"\n" + key_pem)


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
    return _certificates(_read(file, setting), file, setting)


def _certificates(content: bytes, file: Path, setting: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        said = (
            "holds a private key, not a certificate" if b"PRIVATE KEY-----" in content else "has no certificate in PEM"
        )
        raise SettingsError(f"{setting}: {file} {said}") from error


def show(context: ssl.SSLContext, pair: Pair, setting: str) -> None:
    """Have `context` show this certificate as it was read: the files may have changed since. Raises SettingsError."""
    try:
        with _as_file(pair.pem) as path:
            context.load_cert_chain(path)
    except (ssl.SSLError, OSError) as error:
        # Too small a key, a signature by SHA-1.
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


@contextmanager
def _as_file(content: bytes) -> Generator[str]:
    """A path to `content`, in memory where the system has that: a key need not be written to a disk again."""
    if not hasattr(os, "memfd_create"):
        with NamedTemporaryFile() as file:  # which nobody else can read
            file.write(content)
            file.flush()
            yield file.name
        return
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _key(content: bytes, file: Path, setting: str) -> PrivateKeyTypes:
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
