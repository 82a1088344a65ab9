"""The only place where adapters meet flows, and where processes get at what they keep."""

from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.index_sql.holds import SqlHolds
from imagerepo.adapters.index_sql.metadata_cache import Room, SqlMetadataCache
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.painting.pool import Limits as PaintingLimits
from imagerepo.adapters.painting.pool import PainterPool
from imagerepo.adapters.segments import anchor, index_file
from imagerepo.adapters.segments.commits import SegmentCommits
from imagerepo.adapters.segments.feed import SegmentFeed
from imagerepo.adapters.segments.folder import Folder, FolderLock, make_ready
from imagerepo.adapters.segments.intervals import SharedIntervals
from imagerepo.adapters.segments.journal import Anchor, SegmentJournal, SignedRoots
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.adapters.segments.replay import Replayed
from imagerepo.adapters.work_sql import schema as work_schema
from imagerepo.adapters.work_sql.tasks import SqlTasks
from imagerepo.adapters.work_sql.worklist import SqlWorklist
from imagerepo.dicomweb.sending import WebSendings
from imagerepo.dimse.client.storing import DimsePeers
from imagerepo.dimse.commitment_report import DimseReporters
from imagerepo.dimse.outgoing import DataSets
from imagerepo.errors import SettingsError
from imagerepo.flows import forwarding
from imagerepo.flows.access import Access
from imagerepo.flows.audit import Audit
from imagerepo.flows.blocking_audit import BlockingAudit
from imagerepo.flows.commitment import Commitments, Inspection, Reporting
from imagerepo.flows.deletion import Deletion
from imagerepo.flows.destinations import Destinations, Ways
from imagerepo.flows.forward import Forward
from imagerepo.flows.forwarding import Forwarding
from imagerepo.flows.headers import Headers
from imagerepo.flows.ingest.ingest import Ingest, Limits
from imagerepo.flows.metadata import Metadata
from imagerepo.flows.nodes import Nodes
from imagerepo.flows.office import Office
from imagerepo.flows.pictures import Bounds, Pictures
from imagerepo.flows.readying import Readying
from imagerepo.flows.repository import Repository
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.rules import Rules
from imagerepo.flows.search import OptionalKeys, Search
from imagerepo.flows.work import Attempts, Workforce
from imagerepo.flows.worklist import Worklist
from imagerepo.ports.journal import Journal, Roots
from imagerepo.ports.tasks import Tasks
from imagerepo.settings import Settings

__all__ = ["Assembled", "Folder", "FolderLock", "Replayed", "make_ready"]


@dataclass(frozen=True, slots=True)
class Assembled:
    """A repository and what has to be closed with it."""

    repository: Repository
    commits: SegmentCommits
    tasks: Tasks

    def close(self) -> None:
        """Let go of files; nothing may be under way."""
        self.repository.pictures.close()
        self.repository.blocking_audit.close()
        self.commits.close()


def embedded(settings: Settings, folder: Folder, writer: str) -> Assembled:
    """Files and SQLite, for one of the folder's writers."""
    commits = SegmentCommits(folder.place(writer, settings.storage), folder.state)
    index = SqlIndex(folder.data)
    access = Access(settings.tenants, settings.ae_title)
    retrieve = Retrieve(index, LocalObjects(folder.data))
    metadata = Metadata(retrieve, _metadata_cache(settings, folder))
    storage = settings.storage
    intervals = SharedIntervals(folder.intervals)
    ingest = Ingest(
        commits,
        Limits(storage.file_threshold, storage.buffer_budget, storage.instance_size_limit),
        access.on_difference,
    )
    nodes = Nodes(settings)
    tasks = SqlTasks(folder.data)
    commitments = Commitments(tasks, nodes, Inspection(retrieve, settings.commitment), settings.commitment)
    return Assembled(
        Repository(
            settings=settings,
            access=access,
            nodes=nodes,
            commitments=commitments,
            ingest=ingest,
            deletion=Deletion(commits, index, SqlHolds(folder.data), settings.deletion),
            retrieve=retrieve,
            search=Search(index, Headers(index, metadata), _optional_keys(settings)),
            metadata=metadata,
            pictures=_pictures(settings, retrieve),
            audit=Audit(commits, intervals, settings.audit.interval),
            blocking_audit=BlockingAudit(Audit(commits, intervals, settings.audit.interval)),
            worklist=Worklist(SqlWorklist(folder.data), commits),
            index=index,
        ),
        commits,
        tasks,
    )


def begin_work(settings: Settings, folder: Folder) -> None:
    """Make ready what is deferred, before anything arrives. Raises SettingsError, UnavailableError."""
    work_schema.upgrade(folder.data)
    forwarding.begin(SqlTasks(folder.data), SegmentFeed(folder.data), Rules(settings.forwarding.rules))


def office(settings: Settings, folder: Folder, writer: str) -> tuple[Office, SegmentCommits]:
    """What does deferred work, for one of the folder's writers, and what has to be tended and closed with it."""
    commits = SegmentCommits(folder.place(writer, settings.storage), folder.state)
    audit = BlockingAudit(Audit(commits, SharedIntervals(folder.intervals), settings.audit.interval))
    tasks = SqlTasks(folder.data)
    retrieve = Retrieve(SqlIndex(folder.data), LocalObjects(folder.data))
    nodes = Nodes(settings)
    ways = Ways(DimsePeers(DataSets(retrieve)), WebSendings(retrieve))
    destinations = Destinations(settings, nodes, ways)
    attempts = Attempts(tasks, settings.retry)
    handlers = (
        Forward(tasks, attempts, retrieve, destinations, audit),
        Reporting(tasks, attempts, nodes, Inspection(retrieve, settings.commitment), DimseReporters()),
    )
    metadata = Metadata(retrieve, _metadata_cache(settings, folder))
    made = Office(
        tasks=tasks,
        nodes=nodes,
        destinations=destinations,
        forwarding=Forwarding(SegmentFeed(folder.data), tasks, metadata, retrieve),
        workforce=Workforce(tasks, handlers),
        audit=audit,
        rules=Rules(settings.forwarding.rules),
    )
    return made, commits


def tasks_of(data: Path) -> Tasks:
    """The tasks of a data folder, whether a server runs on it or not. Raises SettingsError."""
    work_schema.upgrade(data)
    return SqlTasks(data)


def deletion(settings: Settings, folder: Folder, writer: str) -> tuple[Deletion, SegmentCommits]:
    """What deletes, for one of the folder's writers, and what has to be closed with it."""
    commits = SegmentCommits(folder.place(writer, settings.storage), folder.state)
    return Deletion(commits, SqlIndex(folder.data), SqlHolds(folder.data), settings.deletion), commits


def readying(settings: Settings, folder: Folder) -> Readying:
    """What works ahead of demand, over the same files; it writes the metadata cache alone."""
    index = SqlIndex(folder.data)
    retrieve = Retrieve(index, LocalObjects(folder.data))
    metadata = Metadata(retrieve, _metadata_cache(settings, folder))
    return Readying(index, retrieve, metadata, folder.place(folder.writers[0], settings.storage).has_room)


def _pictures(settings: Settings, retrieve: Retrieve) -> Pictures:
    rendering = settings.rendering
    painters = PaintingLimits(rendering.painters, rendering.memory, rendering.time_limit)
    bounds = Bounds(rendering.painters, rendering.queue, rendering.cache, rendering.frame_limit)
    return Pictures(retrieve, PainterPool(painters), bounds)


def _optional_keys(settings: Settings) -> OptionalKeys:
    return OptionalKeys.of(settings.search.optional_keys, settings.search.most_headers)


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
