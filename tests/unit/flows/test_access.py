"""Who may come in, and to which institution."""

import contextlib
import hashlib

import pytest

from imagerepo.errors import ForbiddenError, NotFoundError, SettingsError, UnauthorizedError
from imagerepo.flows.access import Access
from imagerepo.model.caller import Role
from imagerepo.model.events import OnDifference
from imagerepo.settings import Settings, load


def token(name: str, secret: str, *roles: str) -> dict[str, object]:
    return {"name": name, "sha256": hashlib.sha256(secret.encode()).hexdigest(), "roles": list(roles)}


def settings(*institutions: dict[str, object]) -> Settings:
    return load(None, {"institutions": list(institutions)}, {})


def access(*institutions: dict[str, object]) -> Access:
    return Access(settings(*institutions).tenants, "IMAGEREPO")


def test_without_institutions_loopback_is_admin_of_default() -> None:
    caller = access().http(None, None, "127.0.0.1")
    assert caller.institution == "default"
    assert caller.may(Role.WRITE)
    assert access().association("IMAGEREPO", "ANYONE", "::1").institution == "default"


@pytest.mark.parametrize("address", ["10.0.0.1", "::ffff:10.0.0.1", "2001:db8::1"])
def test_without_lists_nobody_beyond_loopback_comes_in(address: str) -> None:
    with pytest.raises(UnauthorizedError):
        access().http(None, None, address)
    with pytest.raises(ForbiddenError):
        access().association("IMAGEREPO", "CT1", address)


def test_an_unknown_called_ae_title_is_told_apart_from_an_unknown_caller() -> None:
    with pytest.raises(NotFoundError, match="OTHER"):
        access().association("OTHER", "CT1", "127.0.0.1")


def test_two_institutions_under_one_ae_title_are_told_apart_by_the_sender() -> None:
    one = {"id": "a", "senders": [{"ae_title": "CT1", "addresses": ["10.1.0.0/16"]}]}
    other = {"id": "b", "senders": [{"ae_title": "CT1", "addresses": ["10.2.0.0/16"]}]}
    both = access(one, other)
    assert both.association("IMAGEREPO", "CT1", "10.1.2.3").institution == "a"
    assert both.association("IMAGEREPO", "CT1", "::ffff:10.2.2.3").institution == "b"
    with pytest.raises(ForbiddenError):
        both.association("IMAGEREPO", "CT1", "10.3.2.3")
    with pytest.raises(ForbiddenError):
        both.association("IMAGEREPO", "CT2", "10.1.2.3")


def test_a_token_opens_its_own_institution_alone_and_only_for_its_roles() -> None:
    both = access(
        {"id": "a", "tokens": [token("viewer", "s1", "read")]}, {"id": "b", "tokens": [token("pacs", "s2", "write")]}
    )
    viewer = both.http("s1", None, "10.0.0.1")
    assert viewer.institution == "a"
    assert viewer.name == "token:viewer"
    assert viewer.may(Role.READ)
    assert not viewer.may(Role.WRITE)
    assert both.http("s2", "b", "10.0.0.1").may(Role.WRITE)
    with pytest.raises(ForbiddenError):
        both.http("s1", "b", "10.0.0.1")
    with pytest.raises(UnauthorizedError):
        both.http("wrong", "a", "127.0.0.1")
    with pytest.raises(UnauthorizedError):
        both.http(None, "a", "127.0.0.1")


def test_names_of_institutions_cannot_be_tried_out_without_a_token() -> None:
    one = access({"id": "a", "tokens": [token("viewer", "s1", "read")]})
    for name in ("a", "b"):
        with pytest.raises(UnauthorizedError):
            one.http(None, name, "10.0.0.1")


def test_names_of_institutions_cannot_be_tried_out_with_a_token_of_another() -> None:
    both = access(
        {"id": "a", "tokens": [token("viewer", "s1", "read")]}, {"id": "b", "tokens": [token("pacs", "s2", "write")]}
    )
    said: set[str] = set()
    for name in ("b", "c"):
        with pytest.raises(UnauthorizedError) as unknown:
            both.http("wrong", name, "10.0.0.1")
        with pytest.raises(ForbiddenError) as foreign:
            both.http("s1", name, "10.0.0.1")
        said |= {str(unknown.value), str(foreign.value).replace(repr(name), "it")}
    assert len(said) == 2


def test_a_token_in_two_institutions_is_refused_and_both_are_named() -> None:
    one, other = ({"id": name, "tokens": [token(f"of-{name}", "s1", "read")]} for name in ("a", "b"))
    with pytest.raises(SettingsError, match="'a: of-a' and 'b: of-b'"):
        settings(one, other)


@pytest.mark.parametrize(
    ("first", "second", "told_apart"),
    [
        (["10.0.0.0/8"], ["10.1.2.3/32"], False),
        ([], ["127.0.0.1/32"], False),
        (["10.1.0.0/16"], ["10.2.0.0/16", "2001:db8::/32"], True),
    ],
)
def test_a_sender_in_two_institutions_must_be_told_apart(
    first: list[str], second: list[str], *, told_apart: bool
) -> None:
    one = {"id": "a", "senders": [{"ae_title": "CT1", "addresses": first}]}
    other = {"id": "b", "senders": [{"ae_title": "CT1", "addresses": second}]}
    with contextlib.nullcontext() if told_apart else pytest.raises(SettingsError, match="'a' and 'b'"):
        settings(one, other)
    settings(one, {**other, "called_ae_titles": ["OTHER"]})


def test_several_institutions_without_token_need_the_url_to_name_one() -> None:
    both = access({"id": "a"}, {"id": "b"})
    assert both.http(None, "b", "127.0.0.1").institution == "b"
    with pytest.raises(NotFoundError, match="several"):
        both.http(None, None, "127.0.0.1")


def test_replaced_institutions_count_from_the_next_caller_on() -> None:
    one = access({"id": "a", "on_difference": "refuse"})
    assert one.on_difference("a") is OnDifference.REFUSE
    one.replace(settings({"id": "a", "tokens": [token("x", "s1", "admin")]}).tenants)
    assert one.on_difference("a") is OnDifference.VERSION
    with pytest.raises(UnauthorizedError):
        one.http(None, None, "127.0.0.1")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"listen": "0.0.0.0:8080"}, "tokens"),
        ({"dicom_listen": "0.0.0.0:104"}, "senders"),
        ({"listen": "8080"}, "listen"),
        ({"institutions": [{"id": "a"}, {"id": "a"}]}, "once"),
        ({"institutions": [{"id": "A b"}]}, "institutions.0.id"),
        ({"storage": {"resrve": 1}}, "storage.resrve: no such setting"),
        ({"workers": 0}, "workers"),
        ({"trusted_proxies": ["10.0.0.0/99"]}, "trusted_proxies"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused_by_name(flags: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load(None, flags, {})


def test_flags_override_variables_which_override_the_file(tmp_path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("ae_title: FILE\nworkers: 1\ndimse: {max_associations: 5}\n")
    read = load(file, {"workers": 3}, {"IMAGEREPO_AE_TITLE": "VARIABLE", "IMAGEREPO_DIMSE__IDLE_TIMEOUT": "7"})
    assert (read.ae_title, read.workers) == ("VARIABLE", 3)
    assert (read.dimse.max_associations, read.dimse.idle_timeout) == (5, 7.0)


def test_a_misspelt_variable_is_an_error_that_names_it() -> None:
    with pytest.raises(SettingsError, match="ae_titel"):
        load(None, {}, {"IMAGEREPO_AE_TITEL": "X"})
