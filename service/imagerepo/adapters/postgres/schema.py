"""Which schema a cluster's database has, and whether this program can work with it; upgrading.py changes it.

The tables come in parts, each with migrations and a version table of its own; the index and the work have theirs in
common with SQLite. What is known is read from the names of the migrations' files: each process of a replica imports
this, and none but an upgrade needs Alembic.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import psycopg
from psycopg.rows import TupleRow

from imagerepo.adapters import index_sql, work_sql
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.failures import RejectedError
from imagerepo.errors import SettingsError

OLDEST_SERVER: Final = 14
"""Major version of PostgreSQL that has all that is used."""

_SKEW: Final = 60.0  # seconds between two clocks, by which replicas tell whose lease has ended


@dataclass(frozen=True)
class Part:
    """Tables with migrations of their own."""

    name: str
    migrations: Path

    @property
    def version_table(self) -> str:
        """Has the revision at which they are."""
        return f"{self.name}_version"

    @cached_property
    def revisions(self) -> tuple[str, ...]:
        """All that this program knows, in order: the last one is its own."""
        return tuple(sorted(path.name.partition("_")[0] for path in self.migrations.glob("versions/[0-9]*.py")))


def _part(name: str, package: str) -> Part:
    return Part(name, Path(package).parent / "migrations")


REBUILDING: Final = "rebuild"
"""A table that is there as long as a rebuild of the index has not come to its end."""

PARTS: Final = (_part("index", index_sql.__file__), _part("work", work_sql.__file__))

# Rows of transactions that this server has not begun yet, if any; each institution by a look at its last one.
_AHEAD: Final = (
    "WITH RECURSIVE last AS ((SELECT institution, xid FROM journal ORDER BY institution DESC, xid DESC LIMIT 1) "
    "UNION ALL SELECT j.institution, j.xid FROM last, LATERAL (SELECT institution, xid FROM journal "
    "WHERE institution < last.institution ORDER BY institution DESC, xid DESC LIMIT 1) j) "
    "SELECT EXISTS (SELECT 1 FROM last WHERE xid >= pg_snapshot_xmax(pg_current_snapshot()))"
)


def check(database: Database) -> None:
    """Return if the schema is this program's, and the index is complete.

    Raises:
        SettingsError: it is another one, or there is none, or no replica could work with the database; the sentence
            says what to do.
        UnavailableError: the database cannot be asked.
    """
    check_tables(database)
    with database.reading() as connection:
        (rebuilding,) = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (REBUILDING,)).fetchone() or (False,)
        (is_ahead,) = connection.execute(_AHEAD).fetchone() or (False,)
    if rebuilding:
        raise SettingsError(
            "the index is being made anew, or that was ended before it was complete: run `imagerepo index rebuild`"
        )
    if is_ahead:
        # Who follows the journal would pass over all that comes, until this server's transactions got that far.
        raise SettingsError(
            "the database was copied by pg_dump or logical replication, which do not keep the order of what changed: "
            "restore a physical copy, or make an empty database and run `imagerepo index rebuild`"
        )


def check_tables(database: Database) -> None:
    """Likewise, whether the index is complete or not."""
    with let_in(), database.reading() as connection:
        require_usable(connection)
        found = found_in(connection)
    refuse_newer(found)
    wanted = {part.name: part.revisions[-1] for part in PARTS}
    if found == wanted:
        return
    if not any(found.values()):
        raise SettingsError("the database has no schema yet: run `imagerepo schema upgrade`")
    behind = ", ".join(
        f"{name} {found[name] or 'none'}, not {wanted[name]}" for name in wanted if found[name] != wanted[name]
    )
    raise SettingsError(f"the database's schema is older than this program ({behind}): run `imagerepo schema upgrade`")


@contextmanager
def let_in() -> Generator[None]:
    """What is rejected now would be rejected for ever: the settings are wrong. Raises SettingsError."""
    try:
        yield
    except RejectedError as error:
        raise SettingsError(f"cluster.database: {error}") from error


def require_usable(connection: psycopg.Connection[TupleRow]) -> None:
    """Raise SettingsError if no replica could work with this server and database."""
    if connection.info.server_version < OLDEST_SERVER * 10_000:
        raise SettingsError(
            f"cluster.database.url: PostgreSQL {connection.info.server_version // 10_000} is too old; "
            f"{OLDEST_SERVER} is the oldest that can be used"
        )
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != "UTF8":
        raise SettingsError(
            f"cluster.database.url: the database has encoding {encoding}; make one with ENCODING 'UTF8'"
        )
    before = time.time()
    row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    theirs = row[0] if row is not None else before
    apart = max(before - theirs, theirs - time.time())
    if apart > _SKEW:
        raise SettingsError(
            f"this machine's clock and that of the database are {apart:.0f} s apart: set both by NTP, then start again"
        )


def found_in(connection: psycopg.Connection[TupleRow]) -> dict[str, str | None]:
    """Revisions in the database, by part; None: it has nothing of that part."""
    found: dict[str, str | None] = {}
    for part in PARTS:
        there = connection.execute("SELECT to_regclass(%s)", (part.version_table,)).fetchone()
        row = None
        if there is not None and there[0] is not None:
            row = connection.execute(f"SELECT version_num FROM {part.version_table}".encode()).fetchone()
        found[part.name] = row[0] if row else None
    return found


def refuse_newer(found: Mapping[str, str | None]) -> None:
    """Raise SettingsError if this program does not know one of the revisions."""
    for part in PARTS:
        revision = found[part.name]
        if revision is not None and revision not in part.revisions:
            raise SettingsError(
                f"the database's schema is newer than this program ({part.name} {revision}): run the newer imagerepo"
            )
