"""Who comes in by a certificate or a passcode."""

import subprocess
import time
from collections.abc import Mapping

import pytest

from imagerepo.errors import ForbiddenError, NotFoundError, SettingsError, UnauthorizedError
from imagerepo.flows.access import Access
from imagerepo.model.caller import Caller, Role
from imagerepo.model.certificate import Certificate
from imagerepo.model.passcode import Passcode, agrees, hash_of
from imagerepo.settings import Settings, load
from tests.harness.server import COMMAND

SECRET = hash_of(b"secret")
ANNA = {"name": "anna", "passcode": SECRET, "ae_titles": ["WS"]}
CT = {"name": "ct", "matches": ["dns:ct.example"], "ae_titles": ["CT1"]}
GATEWAY = {"name": "gateway", "matches": ["dns:gateway.example"], "roles": ["write"]}


def settings(*institutions: Mapping[str, object], **others: object) -> Settings:
    return load(None, {"institutions": list(institutions), "tls": {"client_ca": "all.pem"}, **others}, {})


def access(*institutions: Mapping[str, object]) -> Access:
    return Access(settings(*institutions).tenants, "IMAGEREPO")


def shows(*names: str, authority: str = "all.pem", expires_in: float = 60) -> Certificate:
    return Certificate(frozenset(names), frozenset({authority}), time.time() + expires_in, "CN=x")


def calls(by: Access, certificate: Certificate | None, calling: str = "CT1", address: str = "10.0.0.1") -> Caller:
    return by.association("IMAGEREPO", calling, address, certificate)


def test_a_certificate_stands_for_its_ae_titles_from_any_address() -> None:
    caller = calls(access({"id": "a", "certificates": [CT]}), shows("dns:ct.example", "sha256:00"))
    assert (caller.institution, caller.name) == ("a", "certificate:ct")
    assert caller.roles == {Role.READ, Role.WRITE}


@pytest.mark.parametrize(
    ("certificate", "calling"),
    [
        (None, "CT1"),
        (shows("dns:other.example"), "CT1"),
        (shows("dns:ct.example"), "CT2"),
        (shows("dns:ct.example", authority="another.pem"), "CT1"),
        (shows("dns:ct.example", expires_in=-1), "CT1"),
        (shows("uri:ct.example"), "CT1"),
    ],
)
def test_what_does_not_fit_is_refused_even_on_loopback(certificate: Certificate | None, calling: str) -> None:
    with pytest.raises(ForbiddenError, match="certificate"):
        calls(access({"id": "a", "certificates": [CT]}), certificate, calling, "127.0.0.1")


def test_an_institution_with_its_own_authority_believes_that_one_alone() -> None:
    one = access({"id": "a", "client_ca": "own.pem", "certificates": [CT]})
    assert calls(one, shows("dns:ct.example", authority="own.pem")).institution == "a"
    with pytest.raises(ForbiddenError):
        calls(one, shows("dns:ct.example"))


def test_the_called_ae_title_chooses_among_institutions_that_know_one_certificate() -> None:
    both = access(
        {"id": "a", "called_ae_titles": ["A"], "certificates": [CT]},
        {"id": "b", "called_ae_titles": ["B"], "certificates": [CT]},
    )
    assert both.association("B", "CT1", "10.0.0.1", shows("dns:ct.example")).institution == "b"
    with pytest.raises(NotFoundError):
        both.association("C", "CT1", "10.0.0.1", shows("dns:ct.example"))


def test_a_certificate_that_fits_two_institutions_by_two_names_opens_neither() -> None:
    other = {**CT, "matches": ["subject:CN=CT"]}
    both = access({"id": "a", "certificates": [CT]}, {"id": "b", "certificates": [other]})
    assert calls(both, shows("subject:CN=CT")).institution == "b"
    with pytest.raises(ForbiddenError, match="several"):
        calls(both, shows("dns:ct.example", "subject:CN=CT"))


def test_a_sender_by_address_needs_no_certificate_and_may_show_any() -> None:
    one = access({"id": "a", "certificates": [CT], "senders": [{"ae_title": "OLD", "addresses": ["10.0.0.1"]}]})
    assert calls(one, None, "OLD").name == "ae:OLD"
    assert calls(one, shows("dns:unknown"), "OLD").name == "ae:OLD"
    with pytest.raises(ForbiddenError):
        calls(one, None, "OLD", "10.0.0.2")


def test_by_http_a_certificate_with_roles_is_a_caller() -> None:
    one = access({"id": "a", "certificates": [CT, GATEWAY]}, {"id": "b"})
    caller = one.http(None, None, "10.0.0.1", shows("dns:gateway.example"))
    assert (caller.institution, caller.name, caller.roles) == ("a", "certificate:gateway", {Role.WRITE})
    with pytest.raises(ForbiddenError):
        one.http(None, "b", "10.0.0.1", shows("dns:gateway.example"))
    for unknown in (shows("dns:ct.example"), shows("dns:gateway.example", expires_in=-1)):
        with pytest.raises(UnauthorizedError, match="not known"):
            one.http(None, None, "127.0.0.1", unknown)


def test_once_a_certificate_has_roles_loopback_is_open_no_more() -> None:
    assert access({"id": "a", "certificates": [CT]}).tokenless
    one = access({"id": "a", "certificates": [GATEWAY]})
    assert not one.tokenless
    with pytest.raises(UnauthorizedError, match="or a client certificate"):
        one.http(None, None, "127.0.0.1")


def test_a_user_is_known_by_the_passcode_and_calls_by_its_ae_titles_alone() -> None:
    one = access({"id": "a", "users": [ANNA]})
    caller = one.association("IMAGEREPO", "WS", "10.0.0.1", None, Passcode("anna", b"secret"))
    assert (caller.institution, caller.name) == ("a", "user:anna")
    for calling, secret in (("WS", b"guess"), ("OTHER", b"secret"), ("WS", b"")):
        with pytest.raises(ForbiddenError, match="another passcode"):
            one.association("IMAGEREPO", calling, "127.0.0.1", None, Passcode("anna", secret))
    with pytest.raises(ForbiddenError):
        one.association("IMAGEREPO", "WS", "127.0.0.1", None, Passcode("nobody", b"secret"))


def test_a_user_name_that_means_nothing_here_hinders_no_sender() -> None:
    one = access({"id": "a", "users": [ANNA], "senders": [{"ae_title": "OLD", "addresses": ["10.0.0.1"]}]})
    assert one.association("IMAGEREPO", "OLD", "10.0.0.1", None, Passcode("device", b"")).name == "ae:OLD"


def test_passcodes_are_kept_salted_and_compared_whole() -> None:
    assert agrees(b"secret", SECRET)
    assert not agrees(b"secre", SECRET)
    assert hash_of(b"secret") != SECRET
    assert "secret" not in repr(Passcode("anna", b"secret"))


def known(certificate: Mapping[str, object]) -> dict[str, object]:
    return {"institutions": [{"id": "a", "client_ca": "x", "certificates": [certificate]}]}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tls": {"listen": "127.0.0.1:8443"}}, "certificate and key"),
        ({"tls": {"certificate": "a.crt"}}, "belong together"),
        ({"tls": {"listen": "0.0.0.0:8443", "certificate": "a", "key": "b"}}, "tls.listen: .* beyond loopback"),
        ({"tls": {"dicom_listen": "0.0.0.0:2762", "certificate": "a", "key": "b"}}, "tls.dicom_listen: .* beyond"),
        ({"tls": {"dimse_clients": "maybe"}}, "tls.dimse_clients"),
        ({"institutions": [{"id": "a", "certificates": [CT]}]}, "client_ca"),
        (known({"name": "x", "matches": ["dns:x"]}), "ae_titles"),
        (known({**CT, "matches": ["CT1"]}), "matches"),
        (known({**CT, "matches": ["dns:*.x"]}), "wildcard"),
        ({"institutions": [{"id": "a", "users": [{**ANNA, "passcode": "secret"}]}]}, "passcode"),
        (
            {"institutions": [{"id": i, "client_ca": "x", "certificates": [CT]} for i in "ab"]},
            "'dns:ct.example' opens 'a' and 'b' in the same way",
        ),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_meant_are_refused_by_name(given: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(None, given, {})


def test_the_command_prints_what_goes_into_the_settings() -> None:
    told = subprocess.run(
        [COMMAND, "passcode"], input="open sesame\n", capture_output=True, text=True, check=True, timeout=60
    )
    assert agrees(b"open sesame", told.stdout.strip())
    assert settings({"id": "a", "users": [{**ANNA, "passcode": told.stdout.strip()}]})
