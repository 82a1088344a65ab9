"""The file of the index: brought up to the segments at a start, made anew where it is lost or damaged.

It holds nothing that segments and files do not, so that a damaged one costs time and nothing else.
"""

import logging
import os
import sqlite3
from pathlib import Path

from imagerepo.adapters.index_sql import schema
from imagerepo.adapters.index_sql.engine import INDEX, LOG, connect, is_unsound
from imagerepo.adapters.segments import replay, writer
from imagerepo.adapters.segments.replay import Replayed
from imagerepo.errors import UnavailableError

log = logging.getLogger(__name__)

_FRESH = f"{INDEX}.fresh"  # being made; nothing reads it
_UNREADABLE = f"{INDEX}.unreadable"
_BESIDE = (LOG, "-shm")  # what SQLite keeps beside a database


def bring_up(data: Path) -> Replayed:
    """Upgrade the index and apply what it misses; one that is damaged is set aside and made anew.

    Raises:
        SettingsError: the index is of a newer program.
        DamagedError: a segment is of another format.
        UnavailableError: the disk failed, or it is locked; that says nothing about the index.
    """
    _remove(data / _FRESH)
    try:
        return _make(data, data / INDEX)
    except (sqlite3.Error, UnavailableError) as error:
        cause = _cause(error)
        if cause is None or not is_unsound(cause):
            raise UnavailableError(f"the index cannot be read: {cause or error}") from error
        log.error("index.set_aside", extra={"reason": str(cause)})  # noqa: TRY400 - the reason says all
        _set_aside(data)
    return _make(data, data / INDEX)


def rebuild(data: Path) -> Replayed:
    """Make the index anew beside the old one, which it replaces at once when it is complete; nothing else runs.

    Whatever ends this process before, the old index is as it was.

    Raises:
        UnavailableError: it could not be made; the old one is as it was.
    """
    fresh, index = data / _FRESH, data / INDEX
    _remove(fresh)
    try:
        replayed = _make(data, fresh)
        _settle(fresh)
    except sqlite3.Error as error:
        raise UnavailableError(f"the index cannot be made: {error}") from error
    _take_leave(index)
    fresh.rename(index)
    writer.sync_folder(data)
    return replayed


def _make(data: Path, index: Path) -> Replayed:
    schema.upgrade(index)
    return replay.replay(data, index)


def _settle(index: Path) -> None:
    """Fold in its log, look it over and flush it: from here on the file alone is all of it."""
    connection = connect(index)
    try:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    finally:
        connection.close()
    if found != "ok":
        raise UnavailableError(f"the index that was made is damaged: {found}; the disk or memory fails")
    _remove_beside(index)
    descriptor = os.open(index, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take_leave(index: Path) -> None:
    """Fold the old index's log into it: left behind, the log would be taken for that of the new one."""
    if index.exists():
        try:
            connection = connect(index)
            try:
                busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                connection.close()
        except sqlite3.Error as error:
            # Not a complete index, then; the new one is.
            log.warning("index.unreadable", extra={"reason": str(error)})
        else:
            if busy:
                raise UnavailableError("another process reads the index; end it and rebuild again")
    _remove_beside(index)


def _set_aside(data: Path) -> None:
    # The log first: it must never meet another index.
    _remove_beside(data / INDEX)
    (data / INDEX).rename(data / _UNREADABLE)
    writer.sync_folder(data)


def _remove(index: Path) -> None:
    index.unlink(missing_ok=True)
    _remove_beside(index)


def _remove_beside(index: Path) -> None:
    for suffix in _BESIDE:
        index.with_name(index.name + suffix).unlink(missing_ok=True)


def _cause(error: BaseException | None) -> sqlite3.Error | None:
    """What SQLite said."""
    while error is not None and not isinstance(error, sqlite3.Error):
        error = error.__cause__
    return error
