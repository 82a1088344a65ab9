"""Bring the index's schema to this program's."""

from pathlib import Path


def upgrade(database: Path) -> None:
    """Upgrade a SQLite index, or make it.

    Raises:
        SettingsError: it is of a newer program.
    """
    # Alembic takes half of what a process needs to begin, and none but the first upgrades.
    from imagerepo.adapters import migrating  # noqa: PLC0415

    migrating.upgrade(database, Path(__file__).parent / "migrations", "the index")
