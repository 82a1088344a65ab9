"""While its index is made anew, a database is its rebuild's alone."""

from contextlib import closing

import pytest

from imagerepo.adapters.bundles.rebuild_staging import Staging, writable
from imagerepo.adapters.postgres import schema
from imagerepo.errors import SettingsError, UnavailableError
from tests.harness import databases


def test_nobody_else_can_connect_until_it_is_complete() -> None:
    with databases.with_schema() as url, databases.opened(writable(url)) as ours:
        for _ in range(2):  # ended in between
            with closing(Staging(ours)) as staging:
                staging.begin()
                with databases.opened(url) as theirs, pytest.raises(UnavailableError, match="index rebuild"):
                    schema.check(theirs)
                with pytest.raises(SettingsError, match="is being made anew"):
                    schema.check(ours)
        with closing(Staging(ours)) as staging:
            staging.finish()
        with databases.opened(url) as theirs:
            schema.check(theirs)


def test_one_at_a_time() -> None:
    with (
        databases.with_schema() as url,
        databases.opened(writable(url)) as ours,
        closing(Staging(ours)),
        pytest.raises(SettingsError, match="another"),
    ):
        Staging(ours)


_JOURNAL = (
    "INSERT INTO journal (commit_number, institution, writer, first, entries, stored, lines) "
    "VALUES (1, 'default', 'one', 1, 1, 0, '')"
)


@pytest.mark.parametrize("statement", ["INSERT INTO institution (name) VALUES ('default')", _JOURNAL])
def test_a_database_that_has_something_is_left_as_it_is(statement: str) -> None:
    with databases.with_schema() as url, databases.opened(writable(url)) as ours:
        with ours.transaction() as connection:
            connection.run(statement)
        with closing(Staging(ours)) as staging, pytest.raises(SettingsError, match="not empty"):
            staging.begin()
        with databases.opened(url) as theirs:
            schema.check(theirs)


def test_a_database_that_replicas_are_connected_to_is_left_as_it_is() -> None:
    with databases.with_schema() as url, databases.opened(writable(url)) as ours, databases.opened(url) as theirs:
        schema.check(theirs)  # connects
        with closing(Staging(ours)) as staging, pytest.raises(SettingsError, match="end them"):
            staging.begin()
        schema.check(theirs)
        with theirs.transaction() as connection:
            connection.run("INSERT INTO institution (name) VALUES ('x')")
