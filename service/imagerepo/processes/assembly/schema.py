"""The schema of what replicas share: brought to this program's, or told whether it is."""
# ruff: noqa: PLC0415 - every command imports this module, and Alembic takes as long as all else

from collections.abc import Sequence
from contextlib import closing

from imagerepo.adapters.postgres import schema
from imagerepo.adapters.postgres.database import Database
from imagerepo.errors import SettingsError
from imagerepo.settings import Settings


def upgrade(settings: Settings) -> Sequence[str]:
    """Upgrade it, or make it; replicas may serve meanwhile.

    Returns:
        What was done, and what could not be had: a sentence each.

    Raises:
        SettingsError: there is no cluster, or the database cannot be used; nothing has changed.
        UnavailableError: the database does not answer, or others keep it busy.
    """
    from imagerepo.adapters.postgres import upgrading

    with closing(_database(settings)) as database:
        done = upgrading.upgrade(database)
    said = [f"{name}: {was or 'nothing'} -> {now}" for name, (was, now) in done.parts.items() if was != now]
    said = said or ["the schema is this program's already"]
    if done.without_trigrams is not None:
        said.append(
            f"searches for a text within a value have no index, and are refused where much is stored: "
            f"{done.without_trigrams}; see to the extension pg_trgm and run this again"
        )
    return said


def check(settings: Settings) -> None:
    """Return if it is this program's. Raises SettingsError, UnavailableError."""
    with closing(_database(settings)) as database:
        schema.check(database)


def _database(settings: Settings) -> Database:
    if settings.cluster is None:
        raise SettingsError(
            "cluster.database: there is none in these settings; without one `imagerepo serve` upgrades its data folder"
        )
    shared = settings.cluster.database
    return Database(shared.url, shared.password_file, shared.connections)
