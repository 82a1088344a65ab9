"""A standby of a PostgreSQL, which has whatever is acknowledged."""

import shutil
import subprocess

from tests.testbed import postgres
from tests.testbed.shared import own_postgres


def following(primary: postgres.Server) -> postgres.Server:
    """Of which the primary waits for each COMMIT."""
    standby = own_postgres()
    standby.daemon.stop()
    shutil.rmtree(standby._data)
    source = ["-h", primary._at, "-p", primary.plan.postgres.port, "-U", "postgres"]
    _as_owner(postgres.program("pg_basebackup"), *source, "-D", standby._data, "-c", "fast", "--write-recovery-conf")
    _configure(standby, f"port = {standby.plan.postgres.port}\nunix_socket_directories = '{standby._at}'")
    standby.start()
    _configure(primary, "synchronous_standby_names = '*'")
    _as_owner(postgres.program("pg_ctl"), "reload", "-D", primary._data)
    return standby


def take_over(primary: postgres.Server, standby: postgres.Server) -> None:
    """The primary is lost."""
    primary.daemon.kill()
    _as_owner(postgres.program("pg_ctl"), "promote", "-D", standby._data)


def _as_owner(*command: object) -> None:
    """As whom PostgreSQL runs."""
    line = [*postgres._as_owner(), *map(str, command)]
    subprocess.run(line, cwd="/", check=True, timeout=120, capture_output=True)


def _configure(server: postgres.Server, settings: str) -> None:
    with (server._data / "postgresql.conf").open("a", encoding="utf-8") as file:
        file.write(f"\n{settings}\n")
