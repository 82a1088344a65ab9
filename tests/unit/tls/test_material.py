"""Certificates and keys that cannot be used are named: the field, the file and what is wrong."""

import ssl
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from imagerepo.errors import SettingsError
from imagerepo.settings_tls import Tls
from imagerepo.tls.material import check_period, read_pair, show
from imagerepo.tls.server import build
from tests.harness.certificates import Authority, Files


def pem(encryption: BestAvailableEncryption | NoEncryption, bits: int = 2048) -> bytes:
    return rsa.generate_private_key(65537, bits).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def used(files: Files) -> None:
    """As the server's start does."""
    check_period(build(Tls(certificate=files.certificate, key=files.key), []).pair, "tls")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda one: one.key.write_bytes(pem(NoEncryption())), "tls.key: {key} is not the key of"),
        (lambda one: one.key.write_bytes(one.certificate.read_bytes()), "tls.key: {key} holds a certificate"),
        (lambda one: one.key.write_text("nonsense"), "tls.key: {key} has no private key in PEM"),
        (lambda one: one.key.write_bytes(pem(BestAvailableEncryption(b"x"))), "tls.key: {key} has a passphrase"),
        (lambda one: one.key.unlink(), "tls.key: cannot read {key}: No such file"),
        (lambda one: one.certificate.write_bytes(one.key.read_bytes()), "{certificate} holds a private key"),
        (lambda one: one.certificate.write_text(""), "tls.certificate: {certificate} has no certificate in PEM"),
        (lambda one: one.certificate.write_bytes(bytes(5 << 20)), "is larger than"),
        (lambda one: one.certificate.unlink(), "tls.certificate: cannot read {certificate}: No such file"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, spoil: Callable[[Files], object], said: str) -> None:
    files = Authority(tmp_path, "ca").issue("server")
    used(files)
    spoil(files)
    with pytest.raises(SettingsError) as caught:
        used(files)
    assert said.format(key=files.key, certificate=files.certificate) in str(caught.value)


@pytest.mark.parametrize(
    ("begins", "ends", "said"),
    [(timedelta(-9), timedelta(-1), "expired at"), (timedelta(1), timedelta(9), "is not valid before")],
)
def test_a_certificate_that_is_not_valid_now_is_named(
    tmp_path: Path, begins: timedelta, ends: timedelta, said: str
) -> None:
    with pytest.raises(SettingsError, match=rf"tls\.certificate: .*server\.crt {said}"):
        used(Authority(tmp_path, "ca").issue("server", begins=begins, ends=ends))


def test_a_key_that_is_too_short_is_named(tmp_path: Path) -> None:
    files = Authority(tmp_path, "ca").issue("server", bits=1024)
    with pytest.raises(SettingsError, match="cannot be used: ee key too small"):
        used(files)


def test_the_certificate_has_to_come_first_in_its_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    files = authority.issue("server")
    files.certificate.write_bytes(authority.file.read_bytes() + files.certificate.read_bytes())
    with pytest.raises(SettingsError, match="has to be the first in its file"):
        read_pair(files.certificate, files.key, "tls")


def test_what_was_read_and_checked_is_shown_though_its_files_have_changed_since(tmp_path: Path) -> None:
    files = Authority(tmp_path, "ours").issue("imagerepo")
    pair = read_pair(files.certificate, files.key, "tls")
    files.certificate.write_text("nonsense")
    files.key.unlink()
    show(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair, "tls")
