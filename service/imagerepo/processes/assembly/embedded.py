"""The embedded shape: files and SQLite in one folder, which one server uses at a time."""

import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final

from imagerepo.adapters.index_sql.holds import SqlHolds
from imagerepo.adapters.index_sql.metadata_cache import Room, SqlMetadataCache
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.segments import anchor, index_file
from imagerepo.adapters.segments import folder as data_folder
from imagerepo.adapters.segments.change_feed import SegmentChangeFeed
from imagerepo.adapters.segments.commits import SegmentCommits
from imagerepo.adapters.segments.feed import SegmentFeed
from imagerepo.adapters.segments.folder import Folder, FolderLock
from imagerepo.adapters.segments.intervals import SharedIntervals
from imagerepo.adapters.segments.journal import Anchor, SegmentJournal, SignedRoots
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.adapters.segments.replay import Replayed
from imagerepo.adapters.work_sql import schema as work_schema
from imagerepo.adapters.work_sql.tasks import SqlTasks
from imagerepo.adapters.work_sql.worklist import SqlWorklist
from imagerepo.errors import SettingsError
from imagerepo.flows import forwarding, webhooks
from imagerepo.flows.readying import Readying
from imagerepo.flows.rules import Rules
from imagerepo.ports.journal import Journal, Roots
from imagerepo.ports.tasks import Tasks
from imagerepo.processes.assembly import flows
from imagerepo.processes.assembly.parts import Parts, Reads
from imagerepo.processes.assembly.shape import Attendance
from imagerepo.settings import Settings

__all__ = ["Embedded", "FolderLock", "Replayed"]

log = logging.getLogger(__name__)

_RECLAIM: Final = 1.0  # seconds between looks for bytes of what was deleted, once there were none


class Embedded:
    """A data folder made ready, with the settings of its server (shape.Shape)."""

    attendance = (Attendance.READYING, Attendance.TASKS)

    def __init__(self, settings: Settings, folder: Folder) -> None:
        self._settings = settings
        self._folder = folder
        self._reclaim_at = 0.0  # monotonic seconds

    @classmethod
    def found(cls, settings: Settings, data: Path, start: str, writers: Sequence[str]) -> "Embedded":
        """The folder that the parent made ready at that start."""
        return cls(settings, Folder(data, start, tuple(writers)))

    @property
    def start(self) -> str:
        """Names this start of the server."""
        return self._folder.start

    @property
    def metrics(self) -> Path:
        """prometheus-client's multiprocess folder."""
        return self._folder.metrics

    def parts(self, writer: str) -> Parts:
        """Open what one of the folder's writers works with."""
        data = self._folder.data
        commits = SegmentCommits(self._folder.place(writer, self._settings.storage), self._folder.state)
        changes = SegmentChangeFeed(data, self._folder.state)
        reads = self._reads()
        opened = ExitStack()
        opened.callback(changes.close)
        opened.callback(commits.close)
        return Parts(
            reads=reads,
            commits=commits,
            holds=SqlHolds(data),
            intervals=SharedIntervals(self._folder.intervals),
            tasks=SqlTasks(data),
            worklist=SqlWorklist(data),
            feed=lambda: SegmentFeed(data),
            changes=changes,
            check=reads.index.check,
            tended=(commits,),
            chores=(),
            close=opened.close,
        )

    def readying(self) -> Readying:
        """What works ahead of demand, over the same files."""
        room = self._folder.place(self._folder.writers[0], self._settings.storage)
        return flows.readying(self._reads(), room.has_room)

    def recover(self, writer: str) -> None:
        """Write the rows of a dead writer's durable commits, and land what it had in flight."""
        self._folder.recover_writer(writer)

    def upkeep(self) -> None:
        """Fold the index's log into its file; give back bytes of what was deleted, a few at a time."""
        self._folder.checkpoint()
        now = time.monotonic()
        if now >= self._reclaim_at and not self._folder.reclaim(self._settings.deletion.reclaim_delay):
            self._reclaim_at = now + _RECLAIM

    def give_back(self) -> None:
        """Give back all bytes of what was deleted: nobody reads who could still need them."""
        while self._folder.reclaim(0):
            pass
        self._folder.checkpoint()

    def _reads(self) -> Reads:
        data = self._folder.data
        kept = SqlMetadataCache(data, Room.on_disk_of(data, self._settings.storage.reserve))
        return Reads(SqlIndex(data), LocalObjects(data), kept)


def make_ready(settings: Settings, data: Path, writers: Sequence[str]) -> Embedded:
    """Bring index and folders up to date; the lock is held and nothing else runs.

    Raises:
        SettingsError: the index is of a newer program.
        DamagedError: a segment is of another format.
    """
    folder, replayed = data_folder.make_ready(data, writers)
    if replayed.commits:
        log.warning("index.replayed", extra={"commits": replayed.commits, "instances": replayed.instances})
    return Embedded(settings, folder)


def begin_work(settings: Settings, data: Path) -> None:
    """Make ready what is deferred, before anything arrives. Raises SettingsError, UnavailableError."""
    work_schema.upgrade(data)
    tasks = SqlTasks(data)
    forwarding.begin(tasks, SegmentFeed(data), Rules(settings.forwarding.rules))
    with closing(SegmentChangeFeed(data, Folder(data, "", ()).state)) as changes:
        webhooks.begin(tasks, changes, webhooks.Hooks(settings.tenants))


def tasks_of(data: Path) -> Tasks:
    """The tasks of a data folder, whether a server runs on it or not. Raises SettingsError."""
    work_schema.upgrade(data)
    return SqlTasks(data)


def existing_data(settings: Settings) -> Path:
    """The data folder, absolute: workers may have another working folder. Raises SettingsError if it is none."""
    data = settings.data.absolute()
    if settings.cluster is not None:
        raise SettingsError(f"data: {data} is scratch of a replica (cluster is set); this works on data folders alone")
    if not (data / "segments").is_dir():
        raise SettingsError(f"data: {data} is no data folder")
    return data


def rebuild_index(data: Path) -> Replayed:
    """Make the index of a data folder anew; its lock is held. Raises UnavailableError, DamagedError."""
    return index_file.rebuild(data)


def journal(settings: Settings, data: Path) -> Journal:
    """The journal of a data folder. Raises SettingsError."""
    return SegmentJournal(data, _anchor(settings))


def signed_roots(settings: Settings, data: Path) -> Roots | None:
    """Where the roots of the chains are signed; None if nobody wants it. Raises SettingsError."""
    anchored = _anchor(settings)
    return None if anchored is None else SignedRoots(data, anchored)


def new_anchor_key() -> str:
    """A new key, PEM: its private half, then its public half."""
    return anchor.new_key()


def _anchor(settings: Settings) -> Anchor | None:
    audit = settings.audit
    if (audit.anchor is None) != (audit.key is None):
        raise SettingsError("audit.anchor and audit.key belong together; set both or none")
    return None if audit.anchor is None or audit.key is None else Anchor(audit.anchor, audit.key)
