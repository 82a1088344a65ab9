"""Bring a cluster's schema to this program's while replicas serve.

1. One upgrade at a time, by an advisory lock.
2. Each migration is a transaction: it is there with its version, or not at all. One that has to wait for a table's
   lock gives up soon, since all who come later wait behind it, and is tried again.
3. A migration makes indexes of tables that may be large CONCURRENTLY, in `op.get_context().autocommit_block()`; before
   that it drops what an earlier try may have left: `DROP INDEX CONCURRENTLY IF EXISTS`.
4. A migration leaves what the release before this one reads and writes as it is: columns are added with defaults, and
   dropped a release after the last one that used them.
"""

import time
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
from alembic import command
from alembic.config import Config
from psycopg import errors
from psycopg.rows import TupleRow
from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from imagerepo.adapters.postgres import trigrams
from imagerepo.adapters.postgres.connecting import Place
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.failures import unavailable
from imagerepo.adapters.postgres.schema import PARTS, Part, found_in, let_in, refuse_newer, require_usable
from imagerepo.errors import SettingsError, UnavailableError

_LOCK: Final = 0x696D6167657265  # "imagere": of advisory locks, whose names are numbers
_OTHERS: Final = 600.0  # seconds that another upgrade is waited for
_TRIES: Final = 30  # at a migration that does not get its locks
_PAUSE: Final = 1.0  # seconds between two of them


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade did."""

    parts: Mapping[str, tuple[str | None, str | None]]  # revision before and after, by part
    without_trigrams: str | None  # why wildcards inside a value are not served by an index; None: they are


def upgrade(database: Database) -> Upgraded:
    """Upgrade the schema, or make it.

    Raises:
        SettingsError: it is of a newer program, or the database is none that can be used; nothing has changed.
        UnavailableError: the database cannot be asked, or others keep it busy; to be run again.
    """
    with let_in(), closing(database.place.connect_for_changes()) as connection:
        try:
            require_usable(connection)
            with _alone(connection):
                before = found_in(connection)
                refuse_newer(before)
                for part in PARTS:
                    if before[part.name] != part.revisions[-1]:
                        _migrate(part, database.place)
                missing = trigrams.make(connection)
                after = found_in(connection)
        except psycopg.Error as error:
            raise _explained(error) from error
    return Upgraded({name: (was, after[name]) for name, was in before.items()}, missing)


@contextmanager
def _alone(connection: psycopg.Connection[TupleRow]) -> Generator[None]:
    """While no other upgrade runs."""
    # Asked again and again: a statement that waited would be waited for by indexes that are made CONCURRENTLY.
    deadline = time.monotonic() + _OTHERS
    while not (connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() or (False,))[0]:
        if time.monotonic() > deadline:
            raise UnavailableError("another `imagerepo schema upgrade` has not come to its end; run this again then")
        time.sleep(_PAUSE)
    yield  # the lock ends with the connection


def config_of(part: Part) -> Config:
    """For Alembic."""
    config = Config()
    config.set_main_option("script_location", str(part.migrations).replace("%", "%%"))
    config.attributes["version_table"] = part.version_table
    config.attributes["transaction_per_migration"] = True
    return config


def _migrate(part: Part, place: Place) -> None:
    def connect() -> psycopg.Connection[TupleRow]:
        made = place.connect_for_changes()
        made.autocommit = False  # as SQLAlchemy takes it to be
        return made

    engine = create_engine("postgresql+psycopg://", creator=connect, poolclass=NullPool)
    for attempt in range(1, _TRIES + 1):
        try:
            with engine.connect() as connection:
                _run(part, connection)
        except SQLAlchemyError as error:
            cause = _cause(error)
            if isinstance(cause, (errors.LockNotAvailable, errors.DeadlockDetected)) and attempt < _TRIES:
                time.sleep(_PAUSE)
                continue
            if cause is None:
                raise
            raise _explained(cause) from error
        else:
            return


def _run(part: Part, connection: Connection) -> None:
    config = config_of(part)
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _cause(error: BaseException | None) -> psycopg.Error | None:
    """What the database said, which Alembic's clearing up may have hidden behind an error of its own."""
    while error is not None:
        if isinstance(error, DBAPIError) and isinstance(error.orig, psycopg.Error):
            return error.orig
        error = error.__cause__ or error.__context__
    return None


def _explained(error: psycopg.Error) -> SettingsError | UnavailableError:
    said = str(error).splitlines()[0]
    match error:
        case errors.InsufficientPrivilege():
            return SettingsError(f"cluster.database.url: the user may not make tables: {said}; GRANT CREATE ON SCHEMA")
        case errors.DuplicateTable() | errors.DuplicateObject():
            return SettingsError(
                f"cluster.database.url: the database has tables that are not ours: {said}; name one that is empty"
            )
        case errors.LockNotAvailable():
            return UnavailableError("a table is locked by transactions that do not end; run this again when they have")
        case _:
            return unavailable(error)
