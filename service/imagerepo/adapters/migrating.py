"""Bring a SQLite database's schema to this program's, by Alembic: whole, or not at all."""

import sqlite3
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError

from imagerepo.errors import SettingsError


def upgrade(database: Path, migrations: Path, what: str) -> None:
    """Upgrade a database, or make it.

    Args:
        database: its file.
        migrations: the folder of its migrations.
        what: names it in messages: "the index".

    Raises:
        SettingsError: it is of a newer program.
        sqlite3.Error: it cannot be read or written; as SQLite said it, since nobody else needs SQLAlchemy.
    """
    engine = create_engine(f"sqlite:///{database}")
    # The driver's own way commits after each table: a process that died between two would leave half a schema.
    event.listen(engine, "connect", _begin_by_hand)
    event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(migrations))
            config.attributes["connection"] = connection
            _refuse_newer(connection, config, what)
            command.upgrade(config, "head")
    except DBAPIError as error:
        if isinstance(error.orig, sqlite3.Error):
            raise error.orig from None
        raise
    finally:
        engine.dispose()


def _begin_by_hand(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _refuse_newer(connection: Connection, config: Config, what: str) -> None:
    found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise SettingsError(
            f"{what} has schema {found}, which this version of imagerepo does not know; run the newer version"
        )
