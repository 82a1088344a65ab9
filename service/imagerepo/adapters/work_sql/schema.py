"""Bring work.sqlite's schema to this program's."""

import logging
import sqlite3
from pathlib import Path

from imagerepo.adapters.index_sql.engine import LOG, is_damage
from imagerepo.adapters.work_sql.engine import WORK
from imagerepo.errors import UnavailableError

log = logging.getLogger(__name__)

_UNREADABLE = f"{WORK}.unreadable"


def upgrade(data: Path) -> None:
    """Upgrade the data folder's, or make it; one that is damaged is set aside, since serving matters more.

    Raises:
        SettingsError: it is of a newer program.
        UnavailableError: the disk failed, or it is locked.
    """
    try:
        _upgrade(data)
    except sqlite3.Error as error:
        if not is_damage(error):
            raise UnavailableError(f"{WORK} cannot be used: {error}") from error
        log.error("work.set_aside", extra={"reason": str(error), "kept_as": _UNREADABLE})  # noqa: TRY400 - all is said
        for beside in (LOG, "-shm"):  # the log must never meet another database
            (data / f"{WORK}{beside}").unlink(missing_ok=True)
        (data / WORK).rename(data / _UNREADABLE)
        _upgrade(data)


def _upgrade(data: Path) -> None:
    # Alembic takes half of what a process needs to begin, and none but the first upgrades.
    from imagerepo.adapters import migrating  # noqa: PLC0415

    migrating.upgrade(data / WORK, Path(__file__).parent / "migrations", WORK)
