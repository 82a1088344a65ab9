"""docs/database.md's backup and restore to a point in time, as it says."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from imagerepo.adapters.postgres import schema, upgrading
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.tasks import PostgresTasks
from imagerepo.errors import UnavailableError
from imagerepo.model.task import NewTask, TaskKind
from imagerepo.ports.tasks import Selection
from tests.docs.reading import DOCS, blocks, section
from tests.harness import databases
from tests.testbed import postgres
from tests.testbed.shared import own_postgres

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def said(heading: str, language: str) -> str:
    """A block of the page."""
    (found,) = blocks(section(DOCS / "database.md", heading), language)
    return found.text


def filled_in(text: str, **places: object) -> str:
    """With places of this test in place of those of the page."""
    for example, place in places.items():
        text = text.replace(PLACES[example], str(place))
    return text


PLACES = {
    "archive": "/var/backups/wal",
    "base": "/var/backups/base",
    "data": "/var/lib/postgresql/15/main",
    "socket": "/var/run/postgresql",
    "moment": "2026-03-01 12:00:00+00",
}


def as_owner(server: postgres.Server, command: str) -> None:
    """As whom PostgreSQL runs, with its programs."""
    programs = postgres.program("pg_basebackup").parent
    line = f"set -e; export PATH={programs}:$PATH PGPORT={server.plan.postgres.port}; {command}"
    subprocess.run([*postgres._as_owner(), "bash", "-c", line], cwd="/", check=True, timeout=120, capture_output=True)


def configure(server: postgres.Server, settings: str) -> None:
    with (server._data / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(f"\n{settings}\n")


def add(database: Database, name: str) -> None:
    PostgresTasks(database, "any").add([NewTask(TaskKind.FORWARD, "default", "ARCHIVE", "lane", name, "{}", NOW)])


def names(database: Database) -> list[str]:
    return [one.name for one in PostgresTasks(database, "any").page(Selection(), 0, 100)]


def superuser(server: postgres.Server) -> psycopg.Connection:
    where = {"host": str(server._at), "port": server.plan.postgres.port, "user": "postgres", "dbname": "postgres"}
    return psycopg.connect(**where, autocommit=True)


def until_archived(server: postgres.Server) -> None:
    with superuser(server) as connection:
        row = connection.execute("SELECT pg_walfile_name(pg_switch_wal())").fetchone()
        assert row is not None
        archived = "SELECT last_archived_wal >= %s FROM pg_stat_archiver"
        while connection.execute(archived, (row[0],)).fetchone() != (True,):
            connection.execute("SELECT pg_sleep(0.05)")


def test_a_database_is_brought_back_to_a_point_in_time(tmp_path: Path) -> None:
    server = own_postgres()
    places = {"archive": server._at / "wal", "base": server._at / "base", "data": server._data, "socket": server._at}
    as_owner(server, f"mkdir {places['archive']}")
    configure(server, filled_in(said("Backup", "ini"), **places))
    server.daemon.stop()
    server.start()
    with databases.opened(server.plan.postgres.url) as database:
        upgrading.upgrade(database)
        add(database, "before the backup")
        as_owner(server, filled_in(said("Backup", "sh"), **places))
        add(database, "after the backup")
        with database.reading() as connection:
            row = connection.execute("SELECT clock_timestamp()::text").fetchone()
        assert row is not None
        add(database, "after the point in time")
        with database.transaction() as connection:
            connection.execute("DROP TABLE task CASCADE")  # what one would like to undo
        until_archived(server)
        server.daemon.stop()

        as_owner(server, filled_in(said("Restore", "sh"), **places))
        configure(server, filled_in(said("Restore", "ini"), **places, moment=row[0]))
        server.start()
        until_writable(database)
        schema.check(database)
        assert names(database) == ["before the backup", "after the backup"]
        add(database, "afterwards")
        assert names(database)[-1] == "afterwards"


def until_writable(database: Database) -> None:
    """The rows of the archive are read first."""
    while True:
        try:
            with database.transaction() as connection:
                connection.execute("SELECT 1 FROM task LIMIT 1")
        except UnavailableError:
            continue
        return
