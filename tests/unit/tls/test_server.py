"""What a client's certificate proves."""

from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from imagerepo.errors import SettingsError
from imagerepo.settings_tls import Tls
from imagerepo.tls.server import ServerTls, build
from tests.harness.certificates import Authority, Files


def der(files: Files) -> bytes:
    return x509.load_pem_x509_certificate(files.certificate.read_bytes()).public_bytes(Encoding.DER)


def built(authority: Authority, *trusted: Path) -> ServerTls:
    files = authority.issue("server")
    return build(Tls(certificate=files.certificate, key=files.key), trusted)


def test_a_certificate_has_its_fingerprint_subject_and_alternative_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    device = authority.issue("CT1", dns=["CT1.example"])
    found = built(authority, authority.file).identify(der(device))
    assert found is not None
    assert found.names == {device.fingerprint, "subject:CN=CT1", "dns:ct1.example"}


def test_no_certificate_proves_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ca")
    assert built(authority, authority.file).identify(None) is None
    assert built(authority, authority.file).identify(b"nonsense") is None


def test_among_several_authorities_it_is_told_which_one_issued_it(tmp_path: Path) -> None:
    north, south = Authority(tmp_path, "north"), Authority(tmp_path, "south")
    state = built(north, north.file, south.file)
    for authority in (north, south):
        found = state.identify(der(authority.issue("CT1", file=f"of {authority.file.stem}")))
        assert found is not None
        assert found.authorities == {str(authority.file)}


def test_an_authority_of_the_same_name_is_not_the_same(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, namesake = Authority(tmp_path / "a", "ca"), Authority(tmp_path / "b", "ca")
    state = built(one, one.file, namesake.file)
    found = state.identify(der(one.issue("CT1")))
    assert found is not None
    assert found.authorities == {str(one.file)}


def test_a_devices_own_certificate_may_stand_among_the_authorities(tmp_path: Path) -> None:
    north, south = Authority(tmp_path, "north"), Authority(tmp_path, "south")
    device = south.issue("CT1")
    found = built(north, north.file, device.certificate).identify(der(device))
    assert found is not None
    assert found.authorities == {str(device.certificate)}


@pytest.mark.parametrize("content", ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_an_authority_that_is_none_is_named(tmp_path: Path, content: str) -> None:
    file = tmp_path / "broken.pem"
    file.write_text(content)
    with pytest.raises(SettingsError, match=r"client_ca: .*broken\.pem"):
        built(Authority(tmp_path, "ca"), file)


def test_an_expired_pair_is_read_for_whoever_has_to_go_on_with_it(tmp_path: Path) -> None:
    files = Authority(tmp_path, "ca").issue("old", begins=timedelta(-9), ends=timedelta(-1))
    assert build(Tls(certificate=files.certificate, key=files.key), []).pair.not_after > 0
