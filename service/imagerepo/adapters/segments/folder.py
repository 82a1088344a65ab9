"""The data folder: who may use it, and in what order it is made ready.

    lock                held while anything runs on the folder
    segments/           bytes and journal: the truth
    files/START/        large instances
    index.sqlite        projection of the segments; may be deleted while nothing runs
    metadata.sqlite     DICOM JSON; may be deleted while nothing runs
    run/                state of the running processes

docs/format.md describes it for people.
"""

import fcntl
import os
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from imagerepo.adapters.index_sql import schema
from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.segments import replay, spool, writer
from imagerepo.adapters.segments.intervals import SharedIntervals
from imagerepo.adapters.segments.numbers import Numbers
from imagerepo.adapters.segments.place import Place
from imagerepo.adapters.segments.replay import Replayed
from imagerepo.errors import SettingsError
from imagerepo.settings import Storage

_LOCK = "lock"
_RUN = "run"
_CHECKPOINT = 4 << 20  # bytes of the index's log after which it is folded in


class FolderLock:
    """One server on a folder. Children inherit the descriptor: the lock goes when the last of them has."""

    def __init__(self, data: Path) -> None:
        """Take the lock, making the folder if need be.

        Raises:
            SettingsError: another server runs on it, or it cannot be made.
        """
        try:
            data.mkdir(parents=True, exist_ok=True)
            self.descriptor = os.open(data / _LOCK, os.O_RDWR | os.O_CREAT, 0o640)
        except OSError as error:
            raise SettingsError(f"data: cannot use folder {data}: {error.strerror}") from error
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self.descriptor)
            raise SettingsError(
                f"data: another imagerepo runs on {data}; stop it, or give this one a folder of its own"
            ) from error

    def close(self) -> None:
        """Let go."""
        os.close(self.descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Folder:
    """A data folder made ready, as its processes see it."""

    data: Path
    start: str  # names this start of the server
    writers: tuple[str, ...]

    @property
    def state(self) -> Path:
        """The file that the writers share."""
        return self.data / _RUN / "numbers"

    @property
    def intervals(self) -> Path:
        """Audit intervals that the processes share."""
        return self.data / _RUN / "intervals"

    @property
    def metrics(self) -> Path:
        """prometheus-client's multiprocess folder."""
        return self.data / _RUN / "metrics"

    def place(self, name: str, storage: Storage) -> Place:
        """Where one of the writers works."""
        return Place(self.data, name, self.writers.index(name), self.start, storage.segment_size, storage.reserve)


def make_ready(data: Path, writers: Sequence[str]) -> tuple[Folder, Replayed]:
    """Bring index and folders up to date; the lock is held and nothing else runs.

    Raises:
        SettingsError: the index is of a newer program.
        DamagedError: a segment is of another format.
    """
    start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    folder = Folder(data, start, tuple(writers))
    shutil.rmtree(data / _RUN, ignore_errors=True)
    for path in (data / _RUN, folder.metrics, data / writer.FOLDER, data / spool.FOLDER / start):
        path.mkdir(parents=True, exist_ok=True)
    for path in (data / spool.FOLDER, data):
        writer.sync_folder(path)
    _drop_unreadable_index(data)
    schema.upgrade(data / INDEX)
    replayed = replay.replay(data)
    if not replayed.damaged:
        # What cannot be read is not in the index: its file would look unnamed.
        _sweep(data, start)
    SharedIntervals.create(folder.intervals)
    Numbers.create(folder.state, len(writers), replayed.last_commit)
    return folder, replayed


def recover_writer(folder: Folder, name: str) -> None:
    """After one writer's process died: write the rows of its durable commits, and land what it had in flight."""
    with Numbers(folder.state, folder.writers.index(name)) as numbers, numbers.locked():
        replay.replay(folder.data, only_writer=name)
        numbers.land()


def checkpoint(data: Path) -> None:
    """Fold the index's log into its file once it has grown, without making anyone wait."""
    log = data / f"{INDEX}-wal"
    if log.exists() and log.stat().st_size > _CHECKPOINT:
        connection = connect(data / INDEX)
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error:
            pass  # tried again in a moment
        finally:
            connection.close()


def _drop_unreadable_index(data: Path) -> None:
    """An index that is no database is made anew from the segments, which hold all that it held."""
    path = data / INDEX
    if not path.exists():
        return
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA schema_version").fetchone()
    except sqlite3.DatabaseError:
        drop_index(data)
    finally:
        connection.close()


def drop_index(data: Path) -> None:
    """Remove the index; `make_ready` makes it anew."""
    for suffix in ("", "-wal", "-shm"):
        (data / f"{INDEX}{suffix}").unlink(missing_ok=True)


def _sweep(data: Path, start: str) -> None:
    """Remove files of earlier starts that no commit names: what arrived when the server died."""
    connection = connect(data / INDEX)
    try:
        for earlier in (data / spool.FOLDER).iterdir():
            if earlier.name == start or (earlier / _SWEPT).exists():
                continue
            for path in earlier.glob("*.dcm"):
                key = f"{spool.FOLDER}/{earlier.name}/{path.name}"
                known = connection.execute("SELECT 1 FROM object WHERE store = ? AND key = ?", (writer.STORE, key))
                if known.fetchone() is None:
                    path.unlink()
            if any(earlier.iterdir()):
                (earlier / _SWEPT).touch()
            else:
                earlier.rmdir()
    finally:
        connection.close()


_SWEPT = ".swept"
