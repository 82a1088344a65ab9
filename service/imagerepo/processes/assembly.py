"""The only place where adapters meet flows, and where processes get at what they keep."""

from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.index_sql.metadata_cache import Room, SqlMetadataCache
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.segments import anchor, index_file
from imagerepo.adapters.segments.commits import SegmentCommits
from imagerepo.adapters.segments.folder import Folder, FolderLock, make_ready
from imagerepo.adapters.segments.intervals import SharedIntervals
from imagerepo.adapters.segments.journal import Anchor, SegmentJournal, SignedRoots
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.adapters.segments.replay import Replayed
from imagerepo.errors import SettingsError
from imagerepo.flows.access import Access
from imagerepo.flows.audit import Audit
from imagerepo.flows.ingest.ingest import Ingest, Limits
from imagerepo.flows.metadata import Metadata
from imagerepo.flows.readying import Readying
from imagerepo.flows.repository import Repository
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.search import Search
from imagerepo.ports.journal import Journal, Roots
from imagerepo.settings import Settings

__all__ = ["Assembled", "Folder", "FolderLock", "Replayed", "make_ready"]


@dataclass(frozen=True, slots=True)
class Assembled:
    """A repository and what has to be closed with it."""

    repository: Repository
    commits: SegmentCommits

    def close(self) -> None:
        """Let go of files; nothing may be under way."""
        self.commits.close()


def embedded(settings: Settings, folder: Folder, writer: str) -> Assembled:
    """Files and SQLite, for one of the folder's writers."""
    commits = SegmentCommits(folder.place(writer, settings.storage), folder.state)
    index = SqlIndex(folder.data)
    access = Access(settings.tenants, settings.ae_title)
    retrieve = Retrieve(index, LocalObjects(folder.data))
    storage = settings.storage
    ingest = Ingest(
        commits,
        Limits(storage.file_threshold, storage.buffer_budget, storage.instance_size_limit),
        access.on_difference,
    )
    return Assembled(
        Repository(
            settings=settings,
            access=access,
            ingest=ingest,
            retrieve=retrieve,
            search=Search(index),
            metadata=Metadata(retrieve, _metadata_cache(settings, folder)),
            audit=Audit(commits, SharedIntervals(folder.intervals), settings.audit.interval),
            index=index,
        ),
        commits,
    )


def readying(settings: Settings, folder: Folder) -> Readying:
    """What works ahead of demand, over the same files; it writes the metadata cache alone."""
    index = SqlIndex(folder.data)
    metadata = Metadata(Retrieve(index, LocalObjects(folder.data)), _metadata_cache(settings, folder))
    return Readying(index, metadata, folder.place(folder.writers[0], settings.storage).has_room)


def _metadata_cache(settings: Settings, folder: Folder) -> SqlMetadataCache:
    return SqlMetadataCache(folder.data, Room.on_disk_of(folder.data, settings.storage.reserve))


def existing_data(settings: Settings) -> Path:
    """The data folder, absolute: workers may have another working folder. Raises SettingsError if it is none."""
    data = settings.data.absolute()
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
