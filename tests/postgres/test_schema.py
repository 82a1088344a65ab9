"""The schema in PostgreSQL: made, upgraded while others work, told apart from others', never left half done."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from imagerepo.adapters.index_sql import tables as index_tables
from imagerepo.adapters.postgres import schema, trigrams, upgrading
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.work_sql import tables as work_tables
from imagerepo.errors import SettingsError, UnavailableError
from tests.harness import databases

ROOT = Path(__file__).parents[2]
INDEX, WORK = schema.PARTS


@pytest.fixture
def empty() -> Iterator[str]:
    with databases.empty() as url:
        yield url


@pytest.fixture
def database(empty: str) -> Iterator[Database]:
    with databases.opened(empty) as opened:
        yield opened


def described(database: Database) -> dict[str, str]:
    """Every column, index and constraint."""
    with database.reading() as connection:
        columns = connection.execute(
            "SELECT table_name || '.' || column_name, concat_ws(' ', data_type, collation_name, is_nullable, "
            "column_default) FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall()
        indexes = connection.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
        ).fetchall()
        constraints = connection.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace"
        ).fetchall()
    return {str(name): str(what) for name, what in (*columns, *indexes, *constraints)}


def upgraded_to(url: str, part: schema.Part, revision: str) -> None:
    """As a release of the past left it."""
    with databases.opened(url) as database:
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(url), poolclass=NullPool)
        with engine.connect() as connection:
            config = upgrading.config_of(part)
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        database.close()


def started(url: str) -> subprocess.Popen[bytes]:
    """An upgrade, in a process of its own."""
    program = (
        "import sys\nfrom imagerepo.adapters.postgres import upgrading\n"
        "from imagerepo.adapters.postgres.database import Database\nupgrading.upgrade(Database(sys.argv[1]))"
    )
    return subprocess.Popen([sys.executable, "-c", program, url], cwd=ROOT)


def test_all_migrations_together_make_what_the_tables_say(empty: str, database: Database) -> None:
    upgrading.upgrade(database)
    with databases.empty() as other, databases.opened(other) as made:
        engine = create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(other), poolclass=NullPool)
        index_tables.metadata.create_all(engine)
        work_tables.metadata.create_all(engine)
        migrated, wanted = described(database), described(made)
    # More than they say may be there: what replicas alone have.
    differs = {name for name, what in wanted.items() if migrated.get(name) != what}
    assert differs == {"holding_pkey"}  # a row a slot, so that no two replicas wait for the same one
    assert len(wanted) > 150


def test_what_is_known_of_migrations_is_what_alembic_knows() -> None:
    for part in schema.PARTS:
        scripts = ScriptDirectory.from_config(upgrading.config_of(part))
        assert part.revisions == tuple(one.revision for one in reversed(list(scripts.walk_revisions())))


def test_text_is_compared_by_code_points_in_every_column(database: Database) -> None:
    upgrading.upgrade(database)
    with database.reading() as connection:
        others = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' "
            "AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
        ).fetchall()
    assert others == []


def test_an_upgrade_of_what_is_up_to_date_changes_nothing(database: Database) -> None:
    first = upgrading.upgrade(database)
    before = described(database)
    second = upgrading.upgrade(database)
    assert {was for was, _ in first.parts.values()} == {None}
    assert all(was == now for was, now in second.parts.values())
    assert described(database) == before
    schema.check(database)
    assert trigrams.served(database)


def test_a_database_without_a_schema_is_told_what_to_do(database: Database) -> None:
    with pytest.raises(SettingsError, match=r"no schema yet: run `imagerepo schema upgrade`"):
        schema.check(database)
    assert described(database) == {}


def test_an_older_schema_is_refused_until_it_is_upgraded(empty: str, database: Database) -> None:
    upgraded_to(empty, INDEX, "head")
    upgraded_to(empty, WORK, "0002")
    with pytest.raises(SettingsError, match=r"older than this program \(work 0002, not .*imagerepo schema upgrade`"):
        schema.check(database)
    upgrading.upgrade(database)
    schema.check(database)


def test_a_copy_that_has_not_the_transactions_of_its_rows_is_refused(database: Database) -> None:
    """As pg_dump and logical replication make them: who follows the journal would wait for transactions to come."""
    upgrading.upgrade(database)
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO journal (commit_number, institution, writer, first, entries, stored, lines) "
            "SELECT n, CASE n % 2 WHEN 0 THEN 'even' ELSE 'odd' END, 'w', n, 1, 0, '' FROM generate_series(1, 9) AS n"
        )
    schema.check(database)
    with database.transaction() as connection:
        connection.execute(
            "UPDATE journal SET xid = (pg_snapshot_xmax(pg_current_snapshot())::text::bigint + 1000)::text::xid8 "
            "WHERE commit_number = 8"
        )
    with pytest.raises(SettingsError, match=r"was copied by pg_dump or logical replication, .*: restore a physical"):
        schema.check(database)


@pytest.mark.parametrize("act", [schema.check, upgrading.upgrade])
def test_a_newer_schema_is_refused_and_left_as_it_is(act, database: Database) -> None:
    upgrading.upgrade(database)
    with database.transaction() as connection:
        connection.execute("UPDATE index_version SET version_num = '9999'")
    before = described(database)
    with pytest.raises(SettingsError, match=r"newer than this program \(index 9999\): run the newer imagerepo"):
        act(database)
    assert described(database) == before


def test_tables_of_somebody_else_are_not_touched(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("CREATE TABLE study (theirs text)")
    with pytest.raises(SettingsError, match=r'not ours: .*"study" already exists'):
        upgrading.upgrade(database)
    with database.reading() as connection:
        left = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace"
        ).fetchall()
    assert {name for (name,) in left} <= {"study", "index_version", "index_version_pkc"}


def test_several_upgrades_at_the_same_time_are_one(empty: str, database: Database) -> None:
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: upgrading.upgrade(Database(empty)), range(3)))
    assert sorted(sum(was != now for was, now in one.parts.values()) for one in done) == [0, 0, len(schema.PARTS)]
    schema.check(database)


def test_replicas_go_on_while_the_schema_is_upgraded(empty: str, database: Database) -> None:
    upgraded_to(empty, INDEX, "head")
    upgraded_to(empty, WORK, "0002")
    stop, added, failed = threading.Event(), [], []

    def work(number: int) -> None:
        with databases.opened(empty) as replica:
            while not stop.is_set():
                try:
                    with replica.transaction() as connection:
                        name = f"{number}-{len(added)}"
                        connection.execute("INSERT INTO task (kind, name) VALUES ('forward', %s)", (name,))
                        connection.execute("UPDATE task SET attempts = attempts + 1 WHERE name = %s", (name,))
                        connection.execute("DELETE FROM task WHERE name = %s AND attempts > 5", (name,))
                    added.append(name)
                except UnavailableError as error:
                    failed.append(error)

    with databases.opened(empty) as reader, ThreadPoolExecutor(4) as pool:
        working = [pool.submit(work, number) for number in range(3)]
        with reader.place.connect_for_changes() as reading:
            reading.execute("BEGIN; SELECT count(*) FROM task")  # a long one, whose lock the upgrade has to wait for
            upgrade = pool.submit(upgrading.upgrade, database)
            seen = len(added)
            with pytest.raises(TimeoutError):
                upgrade.result(5)
            assert len(added) > seen  # who comes later does not wait behind it for long
        upgrade.result(60)
        stop.set()
        for one in working:
            one.result(30)
    assert failed == []
    schema.check(database)
    with database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM task").fetchone() == (len(added),)


def test_an_upgrade_that_was_killed_is_finished_by_the_next_one(empty: str, database: Database) -> None:
    upgraded_to(empty, INDEX, "head")
    upgraded_to(empty, WORK, "0002")
    before = described(database)
    with psycopg.connect(empty) as reading:
        reading.execute("SELECT count(*) FROM task")
        killed = started(empty)
        with databases.superuser() as watching:
            until_waits_for_a_lock(watching)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait(10)
        assert described(database) == before
    assert started(empty).wait(60) == 0
    schema.check(database)


def until_waits_for_a_lock(watching: psycopg.Connection) -> None:
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%ALTER TABLE task%'"
    for _ in range(1000):
        row = watching.execute(asked).fetchone()
        if row is not None and row[0]:
            return
        watching.execute("SELECT pg_sleep(0.02)")
    pytest.fail("the upgrade never came to the table")


def test_a_broken_off_index_of_trigrams_is_made_anew(database: Database) -> None:
    upgrading.upgrade(database)
    name = database.place.url.rpartition("/")[2]
    with psycopg.connect(databases.as_superuser(name), autocommit=True) as connection:
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'study_trigrams'::regclass")
    assert not trigrams.served(database)
    upgrading.upgrade(database)
    assert trigrams.served(database)


def test_a_database_of_another_encoding_is_refused() -> None:
    with databases.empty("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'") as url, databases.opened(url) as database:
        for act in (schema.check, upgrading.upgrade):
            with pytest.raises(SettingsError, match="encoding SQL_ASCII"):
                act(database)


def test_a_user_who_may_not_make_tables_is_told_so(guest: Database) -> None:
    with pytest.raises(SettingsError, match=r"may not make tables: permission denied for schema public"):
        upgrading.upgrade(guest)


def test_without_the_extension_all_else_is_made_and_it_is_said(empty: str, guest: Database) -> None:
    name = empty.rpartition("/")[2]
    with psycopg.connect(databases.as_superuser(name), autocommit=True) as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO guest")
    done = upgrading.upgrade(guest)
    assert done.without_trigrams is not None
    assert "permission denied to create extension" in done.without_trigrams
    schema.check(guest)
    assert not trigrams.served(guest)


@pytest.fixture
def guest(empty: str) -> Iterator[Database]:
    """Another user, in somebody else's database."""
    with databases.superuser() as connection:
        connection.execute("DROP ROLE IF EXISTS guest")
        connection.execute(sql.SQL("CREATE ROLE guest LOGIN PASSWORD {}").format(sql.Literal("guest")))
    port_and_name = empty.partition("@")[2]
    try:
        with databases.opened(f"postgresql://guest:guest@{port_and_name}") as opened:
            yield opened
    finally:
        name = empty.rpartition("/")[2]
        with psycopg.connect(databases.as_superuser(name), autocommit=True) as connection:
            connection.execute("DROP OWNED BY guest; DROP ROLE guest")
