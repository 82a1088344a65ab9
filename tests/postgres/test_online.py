"""What upgrading.py says of migrations, tried with ones of the future."""

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from imagerepo.adapters.postgres import schema, upgrading
from imagerepo.adapters.postgres.database import Database
from imagerepo.errors import UnavailableError
from tests.harness import databases

_HEADER = """
from alembic import op

revision = "{revision}"
down_revision = {before}
branch_labels = None
depends_on = None


def upgrade():
"""
_TABLE = """
    op.execute("CREATE TABLE trial (id bigserial PRIMARY KEY, name text NOT NULL)")
    op.execute("INSERT INTO trial (name) SELECT 'old ' || n FROM generate_series(1, 1000) n")
"""
_INDEX = """
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS trial_by_name")
        op.execute("CREATE INDEX CONCURRENTLY trial_by_name ON trial (name)")
"""
_HALF = """
    op.execute("ALTER TABLE trial ADD COLUMN kind text NOT NULL DEFAULT ''")
    op.execute("SELECT 1 / 0")
"""


@pytest.fixture
def database() -> Iterator[Database]:
    with databases.empty() as url, databases.opened(url) as opened:
        yield opened


@pytest.fixture
def part(tmp_path: Path) -> schema.Part:
    """With one migration, of the release of today."""
    (tmp_path / "versions").mkdir()
    shutil.copy(schema.PARTS[0].migrations / "env.py", tmp_path)
    made = schema.Part("trial", tmp_path)
    add(made, "0001", "None", _TABLE)
    return made


def add(part: schema.Part, revision: str, before: str, body: str) -> None:
    header = _HEADER.format(revision=revision, before=before)
    (part.migrations / "versions" / f"{revision}_trial.py").write_text(f"{header}{body}")


def revision(database: Database) -> str:
    with database.reading() as connection:
        row = connection.execute("SELECT version_num FROM trial_version").fetchone()
    assert row is not None
    return row[0]


def is_valid(database: Database) -> bool | None:
    with database.reading() as connection:
        row = connection.execute(
            "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('trial_by_name')"
        ).fetchone()
    return None if row is None else row[0]


def cut_off_when_it_waits(database: Database) -> None:
    """The connection that makes the index."""
    asked = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
        "AND query LIKE 'CREATE INDEX CONCURRENTLY trial_by_name%'"
    )
    while True:
        with databases.superuser() as connection:
            if connection.execute(asked).fetchone():
                return


def test_an_index_is_made_while_rows_are_written(part: schema.Part, database: Database) -> None:
    upgrading._migrate(part, database.place)
    add(part, "0002", '"0001"', _INDEX)
    stop, written = threading.Event(), []

    def write(number: int) -> None:
        while not stop.is_set():
            with database.transaction() as connection:
                connection.execute("INSERT INTO trial (name) VALUES (%s)", (f"new {number}",))
            written.append(number)

    with ThreadPoolExecutor(4) as pool:
        writing = [pool.submit(write, number) for number in range(3)]
        with psycopg.connect(database.place.url) as other:
            other.execute("INSERT INTO trial (name) VALUES ('for long')")  # the index has to wait for it, nobody else
            made = pool.submit(upgrading._migrate, part, database.place)
            while is_valid(database) is None:
                assert not made.done()
            before = len(written)
            while len(written) < before + 50:
                assert not made.done()
            assert is_valid(database) is False
        made.result(60)
        stop.set()
        for one in writing:
            one.result(30)
    assert (is_valid(database), revision(database)) == (True, "0002")
    with database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM trial").fetchone() == (1001 + len(written),)


def test_an_index_that_was_broken_off_is_made_anew(part: schema.Part, database: Database) -> None:
    upgrading._migrate(part, database.place)
    add(part, "0002", '"0001"', _INDEX)
    with psycopg.connect(database.place.url) as other, ThreadPoolExecutor(1) as pool:
        other.execute("INSERT INTO trial (name) VALUES ('for long')")
        cutting = pool.submit(cut_off_when_it_waits, database)
        with pytest.raises(UnavailableError):
            upgrading._migrate(part, database.place)
        cutting.result(60)
    assert (is_valid(database), revision(database)) == (False, "0001")
    upgrading._migrate(part, database.place)
    assert (is_valid(database), revision(database)) == (True, "0002")


def test_a_migration_that_fails_in_the_middle_is_not_there_at_all(part: schema.Part, database: Database) -> None:
    add(part, "0002", '"0001"', _HALF)
    with pytest.raises(UnavailableError, match="division by zero"):
        upgrading._migrate(part, database.place)
    assert revision(database) == "0001"  # each is by itself: the one before it stays
    with database.reading() as connection:
        assert "kind" not in [one.name for one in connection.execute("SELECT * FROM trial").description or ()]
