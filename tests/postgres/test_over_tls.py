"""The database over TLS: who is believed to be it."""

import os
import pwd
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from imagerepo.adapters.postgres import schema
from imagerepo.errors import SettingsError
from tests.harness import databases
from tests.harness.certificates import Authority, Files
from tests.testbed.postgres import OWNER
from tests.testbed.shared import shared_postgres


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "authority")


@pytest.fixture
def url() -> Iterator[str]:
    with databases.with_schema() as made:
        yield made
    with databases.superuser() as connection:
        connection.execute("ALTER SYSTEM SET ssl = off")
        connection.execute("SELECT pg_reload_conf()")


def shown_by_the_server(files: Files) -> None:
    """From its next connection on."""
    folder = shared_postgres().folder / "postgres"
    for name, source in (("server.crt", files.certificate), ("server.key", files.key)):
        target = folder / name
        target.unlink(missing_ok=True)
        target.touch(mode=0o600)
        target.write_bytes(source.read_bytes())
        if os.geteuid() == 0:
            os.chown(target, pwd.getpwnam(OWNER).pw_uid, -1)
    with databases.superuser() as connection:
        connection.execute(f"ALTER SYSTEM SET ssl_cert_file = '{folder / 'server.crt'}'".encode())
        connection.execute(f"ALTER SYSTEM SET ssl_key_file = '{folder / 'server.key'}'".encode())
        connection.execute("ALTER SYSTEM SET ssl = on")
        connection.execute("SELECT pg_reload_conf()")
    while True:
        with databases.superuser() as connection:
            if connection.execute("SHOW ssl").fetchone() == ("on",):
                return


def test_a_server_with_a_certificate_of_the_right_authority_is_believed(url: str, authority: Authority) -> None:
    shown_by_the_server(authority.issue("database"))
    with databases.opened(f"{url}?sslmode=verify-full&sslrootcert={authority.file}") as database:
        schema.check(database)
        with database.reading() as connection:
            assert connection.pgconn.ssl_in_use


@pytest.mark.parametrize("wrong", ["expired", "another authority"])
def test_one_with_a_certificate_that_proves_nothing_is_not(
    wrong: str, url: str, authority: Authority, tmp_path: Path
) -> None:
    issuing = authority if wrong == "expired" else Authority(tmp_path, "other")
    shown_by_the_server(
        issuing.issue("database", begins=timedelta(days=-9), ends=timedelta(days=-1 if wrong == "expired" else 9))
    )
    with (
        databases.opened(f"{url}?sslmode=verify-full&sslrootcert={authority.file}") as database,
        pytest.raises(SettingsError, match=r"cluster\.database: .*certificate verify failed"),
    ):
        schema.check(database)
