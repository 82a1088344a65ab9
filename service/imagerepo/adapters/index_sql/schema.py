"""Bring the index's schema to this program's."""

from pathlib import Path

from imagerepo.adapters import migrating


def upgrade(database: Path) -> None:
    """Upgrade a SQLite index, or make it.

    Raises:
        SettingsError: it is of a newer program.
    """
    migrating.upgrade(database, Path(__file__).parent / "migrations", "the index")
