"""A standby that takes over: found by replicas that name both servers, with all that was acknowledged."""

import shutil
import subprocess
from datetime import UTC, datetime

from imagerepo.adapters.postgres import schema, upgrading
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.tasks import PostgresTasks
from imagerepo.errors import UnavailableError
from imagerepo.model.task import NewTask, TaskKind
from imagerepo.ports.tasks import Selection
from tests.harness import databases
from tests.testbed import postgres
from tests.testbed.shared import own_postgres

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def as_owner(*command: object) -> None:
    """As whom PostgreSQL runs."""
    line = [*postgres._as_owner(), *map(str, command)]
    subprocess.run(line, cwd="/", check=True, timeout=120, capture_output=True)


def configure(server: postgres.Server, settings: str) -> None:
    with (server._data / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(f"\n{settings}\n")


def followed_by_a_standby(primary: postgres.Server) -> postgres.Server:
    """Which has whatever a transaction has written before it is acknowledged."""
    standby = own_postgres()
    standby.daemon.stop()
    shutil.rmtree(standby._data)
    source = ["-h", primary._at, "-p", primary.plan.postgres.port, "-U", "postgres"]
    as_owner(postgres.program("pg_basebackup"), *source, "-D", standby._data, "-c", "fast", "--write-recovery-conf")
    configure(standby, f"port = {standby.plan.postgres.port}\nunix_socket_directories = '{standby._at}'")
    standby.start()
    configure(primary, "synchronous_standby_names = '*'")
    as_owner(postgres.program("pg_ctl"), "reload", "-D", primary._data)
    return standby


def add(database: Database, name: str) -> None:
    PostgresTasks(database, "any").add([NewTask(TaskKind.FORWARD, "default", "ARCHIVE", "lane", name, "{}", NOW)])


def names(database: Database) -> list[str]:
    return [one.name for one in PostgresTasks(database, "any").page(Selection(), 0, 1000)]


def test_what_was_acknowledged_is_on_the_standby_that_takes_over() -> None:
    primary = own_postgres()
    standby = followed_by_a_standby(primary)
    first, second = primary.plan.postgres, standby.plan.postgres
    both = first.url.replace(f":{first.port}/", f":{second.port},127.0.0.1:{first.port}/")  # the standby first
    with databases.opened(both) as database:
        upgrading.upgrade(database)
        acknowledged = [str(number) for number in range(50)]
        for name in acknowledged:
            add(database, name)
        primary.daemon.kill()
        as_owner(postgres.program("pg_ctl"), "promote", "-D", standby._data)
        while True:
            try:
                add(database, "afterwards")
            except UnavailableError:
                continue
            break
        schema.check(database)
        assert names(database) == [*acknowledged, "afterwards"]
