"""PostgreSQL of the distribution, with a data folder, a port and a socket of its own.

It refuses to run as root. A root that brings the bed up hands it to the user `postgres`, who keeps root's right to
pass through folders: those above the bed may be closed to others, as root's own is.
"""

import logging
import os
import pwd
import shutil
import signal
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg import sql

from tests.testbed.daemon import BedError, Daemon, comes_true, environment
from tests.testbed.plan import HOST, Plan

PROGRAMS: Final = Path("/usr/lib/postgresql")
OWNER: Final = "postgres"
QUICK_END: Final = signal.SIGQUIT
"""It removes its shared memory at this, which SIGKILL would leave behind."""

_AS_OWNER: Final = (
    *("setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--init-groups"),
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
)
_MADE_WITHIN: Final = 120.0  # seconds
_READY_WITHIN: Final = 60.0
_ORPHANS_WITHIN: Final = 15.0

_log = logging.getLogger("testbed")


@dataclass(frozen=True, slots=True)
class Server:
    """One server, in the folder `postgres` of a bed."""

    folder: Path  # the bed's
    plan: Plan

    @property
    def daemon(self) -> Daemon:
        """Ends by closing its connections (SIGINT)."""
        command = (*_as_owner(), str(program("postgres")), "-D", str(self._data))
        return Daemon("postgres", command, self.folder, end=signal.SIGINT, quick_end=QUICK_END, expendable=False)

    def up(self) -> None:
        """Make what is missing, start it; returns when the role can query its database."""
        self._make()
        self.start()
        self._make_database()
        with self.connected() as connection:
            connection.execute("SELECT 1")
        _log.info("postgresql: answers at %s:%d", HOST, self.plan.postgres.port)

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        if self.daemon.pid() is None:
            self._await_orphans()
            # They name a pid of the past: of a process that nobody has waited for yet, or of another one by now.
            for lock in (self._data / "postmaster.pid", self._at / f".s.PGSQL.{self.plan.postgres.port}.lock"):
                lock.unlink(missing_ok=True)
        self.daemon.start()
        self.daemon.wait("PostgreSQL to take connections", self.answers, _READY_WITHIN)

    def answers(self) -> bool:
        """Whether a query is answered."""
        try:
            with self._as_superuser() as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    @contextmanager
    def connected(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection of the bed's role to its database, over TCP as replicas have it."""
        with psycopg.connect(self.plan.postgres.url, connect_timeout=10) as connection:
            yield connection

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new, empty database of the bed's role, dropped at the end: its name."""
        name = f"test_{uuid.uuid4().hex}"
        with self._as_superuser() as connection:
            role = sql.Identifier(self.plan.postgres.role)
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), role))
        yield name
        with self._as_superuser() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @property
    def _at(self) -> Path:
        return self.folder / "postgres"

    @property
    def _data(self) -> Path:
        return self._at / "data"

    @contextmanager
    def _as_superuser(self) -> Iterator[psycopg.Connection[Any]]:
        where = {"host": str(self._at), "port": self.plan.postgres.port}
        with psycopg.connect(
            **where, user=OWNER, dbname="postgres", autocommit=True, connect_timeout=10
        ) as connection:
            yield connection

    def _make(self) -> None:
        made = self._at / "made"
        if made.exists():
            return
        shutil.rmtree(self._at, ignore_errors=True)
        self._at.mkdir()
        password = self._at / "password"
        password.touch(mode=0o600)
        password.write_text(self.plan.postgres.superuser_password, encoding="ascii")
        if os.geteuid() == 0:
            owner = pwd.getpwnam(OWNER)
            for path in (self._at, password):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        done = subprocess.run(
            [
                *(*_as_owner(), str(program("initdb")), "-D", str(self._data), "-U", OWNER, f"--pwfile={password}"),
                *("--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"),
                *("--no-sync", "--no-instructions"),
            ],
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_MADE_WITHIN,
            env=environment(),
            check=False,
        )
        if done.returncode:
            said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            raise BedError(f"initdb failed: {said[-1] if said else f'status {done.returncode}'}")
        with (self._data / "postgresql.conf").open("a", encoding="utf-8") as settings:
            settings.write(
                f"listen_addresses = '{HOST}'\nport = {self.plan.postgres.port}\n"
                f"unix_socket_directories = '{self._at}'\nunix_socket_permissions = 0700\nmax_connections = 200\n"
            )
        made.touch()

    def _make_database(self) -> None:
        wanted = self.plan.postgres
        role, database = sql.Identifier(wanted.role), sql.Identifier(wanted.database)
        with self._as_superuser() as connection:
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (wanted.role,)).fetchone():
                password = sql.Literal(wanted.password)
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, password))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (wanted.database,)).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))

    def _await_orphans(self) -> None:
        """Processes outlive a parent that was killed, for as long as their query takes, and keep the next one out."""
        if not comes_true(lambda: not _working_in(self._data), _ORPHANS_WITHIN):
            pids = ", ".join(map(str, _working_in(self._data)))
            raise BedError(f"processes of a killed PostgreSQL still run (pid {pids}): end them, then try again")


def program(name: str) -> Path:
    """Of the newest version that is installed. Raises BedError: none is."""
    found = sorted(PROGRAMS.glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    if not found:
        raise BedError(f"{name} is not in {PROGRAMS}/*/bin: install the package postgresql (tests/setup does)")
    return found[-1]


def _as_owner() -> tuple[str, ...]:
    return _AS_OWNER if os.geteuid() == 0 else ()


def _working_in(data: Path) -> list[int]:
    """Processes whose working directory is the data folder, as that of each of PostgreSQL's is."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.readlink() == data:
                found.append(int(link.parent.name))
        except OSError:
            continue
    return found
