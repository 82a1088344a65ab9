"""What is said of settings of a cluster that cannot be used."""

from pathlib import Path

import pytest

from imagerepo.errors import SettingsError
from imagerepo.settings import Settings, load

DATABASE = {"url": "postgresql://imagerepo@db.example.org:5432/imagerepo"}
STORE = {"endpoints": ["https://rgw.example.org"], "access_key": "K", "secret_key_file": "/secret"}


def loaded(database: dict[str, object] | None = None, store: dict[str, object] | None = None) -> Settings:
    return load(
        None, {"cluster": {"database": {**DATABASE, **(database or {})}, "store": {**STORE, **(store or {})}}}, {}
    )


def test_what_is_not_said_has_a_default() -> None:
    cluster = loaded().cluster
    assert cluster is not None
    assert (cluster.database.connections, cluster.database.password_file) == (8, None)
    assert (cluster.store.region, cluster.store.bucket_prefix) == ("default", "imagerepo")
    assert cluster.store.secret_key_file == Path("/secret")
    assert Settings().cluster is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@127.0.0.1:5432/name",
        "postgres://u@db/name",
        "postgresql://u@a:1,b:2,[::1]:3/name?sslmode=verify-full&target_session_attrs=any",
    ],
)
def test_a_url_names_user_hosts_database_and_options(url: str) -> None:
    cluster = loaded({"url": url}).cluster
    assert cluster is not None
    assert cluster.database.url == url


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("postgresql://u:secret@h/name", "password_file"),
        ("postgresql://u:@h/name", "password_file"),
        ("mysql://u@h/name", "is not postgresql://user@host:port/database"),
        ("postgresql://h/name", "is not postgresql://user@host:port/database"),
        ("postgresql://u@h", "is not postgresql://user@host:port/database"),
        ("postgresql://u@h/name?sslmode", "is not postgresql://user@host:port/database"),
        ("postgresql://u@h/name?password=secret", "password_file"),
        ("host=h dbname=name", "is not postgresql://user@host:port/database"),
    ],
)
def test_a_url_that_is_none_or_has_a_password_is_refused(url: str, says: str) -> None:
    with pytest.raises(SettingsError, match=r"cluster\.database\.url") as refused:
        loaded({"url": url})
    assert says in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("endpoints", []),
        ("endpoints", ["rgw.example.org"]),
        ("endpoints", ["https://rgw.example.org/path"]),
        ("endpoints", ["https://rgw.example.org:99999"]),
        ("access_key", ""),
        ("bucket_prefix", "Imagerepo"),
        ("bucket_prefix", "-a"),
        ("bucket_prefix", "a" * 21),
        ("bucket_prefix", "a-"),
    ],
)
def test_a_store_that_cannot_be_is_refused_by_its_field(field: str, value: object) -> None:
    with pytest.raises(SettingsError, match=rf"cluster\.store\.{field}"):
        loaded(store={field: value})


@pytest.mark.parametrize("part", ["database", "store"])
def test_both_parts_are_needed(part: str) -> None:
    with pytest.raises(SettingsError, match=rf"cluster\.{part}"):
        load(None, {"cluster": {"database": DATABASE, "store": STORE} | {part: None}}, {})
