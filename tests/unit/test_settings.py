"""Settings that cannot be meant are refused at start, by name."""

import pytest

from imagerepo.errors import SettingsError
from imagerepo.settings import load

NUMBERS = [
    "drain_delay",
    "drain_grace",
    "dimse.idle_timeout",
    "dimse.max_pdu",
    "dimse.max_associations",
    "http.idle_timeout",
    "http.send_timeout",
    "http.keep_alive",
    "http.connection_age",
    "http.max_connections",
    "http.max_parts",
    "http.max_search_results",
    "storage.segment_size",
    "storage.file_threshold",
    "storage.buffer_budget",
    "storage.reserve",
    "storage.instance_size_limit",
    "audit.interval",
    "workers",
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan", "1e300", "-1", "yes"])
def test_a_number_that_cannot_be_meant_is_an_error_that_names_the_field(name: str, value: str) -> None:
    variable = f"IMAGEREPO_{name.replace('.', '__').upper()}"
    with pytest.raises(SettingsError, match=rf"^settings: {name}: "):
        load(None, {}, {variable: value})


@pytest.mark.parametrize("name", ["accepted_sop_classes", "accepted_transfer_syntaxes"])
@pytest.mark.parametrize("value", ["CTImageStorage", "", "1.2.", "1.2.03", "9.1", "1.2\n", "1." + "2" * 63, "1.2 "])
def test_a_private_uid_that_is_none_is_an_error_that_names_the_field(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=rf"dimse\.{name}\.1: .*is not a UID"):
        load(None, {f"dimse.{name}": ["1.2.840.113619.4.26", value]}, {})


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("https://pacs.example.org", "https://pacs.example.org"),
        ("https://pacs.example.org/", "https://pacs.example.org"),
        ("http://10.0.0.5:8080", "http://10.0.0.5:8080"),
        ("https://[2001:db8::1]:8443/dicom/", "https://[2001:db8::1]:8443/dicom"),
        ("https://pacs.example.org/a/b-c", "https://pacs.example.org/a/b-c"),
    ],
)
def test_a_public_url_is_kept_without_its_last_slash(value: str, kept: str) -> None:
    assert load(None, {"public_url": value}, {}).public_url == kept


@pytest.mark.parametrize(
    "value",
    [
        "pacs.example.org",
        "ftp://pacs.example.org",
        "https://",
        "https://user:secret@pacs.example.org",
        "https://pacs.example.org?x=1",
        "https://pacs.example.org/#top",
        "https://pacs.example.org/a b",
        "https://pacs.example.org/<script>",
        "https://pacs.example.org:0",
        "https://pacs.example.org:99999",
        "https://[::1",
        'https://pacs".example.org',
        "https://pacs.example.org\n",
        "",
    ],
)
def test_a_public_url_that_is_none_is_an_error_that_names_the_field(value: str) -> None:
    with pytest.raises(SettingsError, match=r"public_url: .*https://pacs\.example\.org"):
        load(None, {"public_url": value}, {})
