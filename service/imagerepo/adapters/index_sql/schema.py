"""Bring the index's schema to this program's, by Alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine

from imagerepo.errors import SettingsError


def upgrade(database: Path) -> None:
    """Upgrade a SQLite index, or make it.

    Raises:
        SettingsError: it is of a newer program.
    """
    engine = create_engine(f"sqlite:///{database}")
    with engine.begin() as connection:
        config = _config(connection)
        _refuse_newer(connection, config)
        command.upgrade(config, "head")
    engine.dispose()


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def _refuse_newer(connection: Connection, config: Config) -> None:
    found = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise SettingsError(
            f"the index has schema {found}, which this version of imagerepo does not know; run the newer version"
        )
