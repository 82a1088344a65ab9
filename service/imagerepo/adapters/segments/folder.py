"""The data folder: who may use it, and in what order it is made ready.

    lock                held while anything runs on the folder
    segments/           bytes and journal: the truth
    files/START/        large instances
    files/orphaned/     what no commit named when it was looked for; removed after a week
    index.sqlite        projection of the segments; may be deleted while nothing runs
    metadata.sqlite     DICOM JSON; may be deleted while nothing runs
    run/                state of the running processes

docs/format.md describes it for people.
"""

import fcntl
import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

from imagerepo.adapters.index_sql import metadata_cache
from imagerepo.adapters.index_sql.engine import INDEX, LOG, connect
from imagerepo.adapters.segments import generation, index_file, replay, spool, writer
from imagerepo.adapters.segments.generation import RUN, Generation
from imagerepo.adapters.segments.intervals import SharedIntervals
from imagerepo.adapters.segments.numbers import Numbers
from imagerepo.adapters.segments.place import Place
from imagerepo.adapters.segments.reclaim import Reclaimer
from imagerepo.adapters.segments.replay import Replayed
from imagerepo.errors import SettingsError, UnavailableError
from imagerepo.settings import Storage

log = logging.getLogger(__name__)

_LOCK = "lock"
_SWEPT = ".swept"
_ORPHANED = "orphaned"
_KEPT_ORPHANS = 7 * 86_400  # seconds
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
        return self.data / RUN / "numbers"

    @property
    def intervals(self) -> Path:
        """Audit intervals that the processes share."""
        return self.data / RUN / "intervals"

    @property
    def generation(self) -> Path:
        """What tells readers that bytes of deleted instances may be gone."""
        return self.data / RUN / generation.FILE

    @property
    def metrics(self) -> Path:
        """prometheus-client's multiprocess folder."""
        return self.data / RUN / "metrics"

    def place(self, name: str, storage: Storage) -> Place:
        """Where one of the writers works."""
        return Place(self.data, name, self.writers.index(name), self.start, storage.segment_size, storage.reserve)

    def recover_writer(self, name: str) -> None:
        """After one writer's process died: write the rows of its durable commits, and land what it had in flight."""
        with Numbers(self.state, self.writers.index(name)) as numbers, numbers.locked():
            replay.replay(self.data, self.data / INDEX, only_writer=name)
            numbers.land()

    def reclaim(self, delay: float) -> bool:
        """Give back some bytes of what was deleted longer than `delay` seconds ago; whether there were any.

        What fails is logged, and tried again the next time.
        """
        try:
            with closing(connect(self.data / INDEX)) as connection, Numbers(self.state, 0) as numbers:
                reclaimer = Reclaimer(self.data, Generation(self.generation), numbers.locked)
                return reclaimer.work(connection, datetime.now(UTC), timedelta(seconds=delay)) > 0
        except (sqlite3.Error, OSError, UnavailableError) as error:
            log.warning("reclaim.waits", extra={"reason": str(error)})
            return False

    def checkpoint(self) -> None:
        """Fold the index's log into its file once it has grown, making nobody wait for a flush.

        The log begins anew only if nothing was added since it was folded in: hence the second, short pass under the
        lock.
        """
        try:
            if (self.data / f"{INDEX}{LOG}").stat().st_size < _CHECKPOINT:
                return
            connection = connect(self.data / INDEX)
            try:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
                with Numbers(self.state, 0) as numbers, numbers.locked():
                    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            finally:
                connection.close()
        except (sqlite3.Error, OSError) as error:
            log.warning("index.not_checkpointed", extra={"reason": str(error)})  # tried again in a moment


def make_ready(data: Path, writers: Sequence[str]) -> tuple[Folder, Replayed]:
    """Bring index and folders up to date; the lock is held and nothing else runs.

    Raises:
        SettingsError: the index is of a newer program.
        DamagedError: a segment is of another format.
    """
    start = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
    folder = Folder(data, start, tuple(writers))
    shutil.rmtree(data / RUN, ignore_errors=True)
    for path in (data / RUN, folder.metrics, data / writer.FOLDER, data / spool.FOLDER / start):
        path.mkdir(parents=True, exist_ok=True)
    for path in (data / spool.FOLDER, data):
        writer.sync_folder(path)
    replayed = index_file.bring_up(data)
    metadata_cache.remove_if_damaged(data)
    if not replayed.damaged:
        # What cannot be read is not in the index: its file would look unnamed.
        _sweep(data, start)
    SharedIntervals.create(folder.intervals)
    generation.create(folder.generation)
    Numbers.create(folder.state, len(writers), replayed.last_commit)
    return folder, replayed


def _sweep(data: Path, start: str) -> None:
    """Set aside files of earlier starts that no commit names: what arrived when the server died.

    They are removed a week later, so that a fault found late can still be mended.
    """
    orphaned = data / spool.FOLDER / _ORPHANED
    orphaned.mkdir(exist_ok=True)
    for path in orphaned.iterdir():
        if time.time() - path.stat().st_ctime > _KEPT_ORPHANS:
            path.unlink()
    connection = connect(data / INDEX)
    try:
        for earlier in (data / spool.FOLDER).iterdir():
            if earlier.name in {start, _ORPHANED} or (earlier / _SWEPT).exists():
                continue
            for path in earlier.glob("*.dcm"):
                key = f"{spool.FOLDER}/{earlier.name}/{path.name}"
                known = connection.execute("SELECT 1 FROM object WHERE store = ? AND key = ?", (writer.STORE, key))
                if known.fetchone() is None:
                    log.warning("file.orphaned", extra={"key": key})
                    path.rename(orphaned / f"{earlier.name}-{path.name}")
            if any(earlier.iterdir()):
                (earlier / _SWEPT).touch()
            else:
                earlier.rmdir()
    finally:
        connection.close()
