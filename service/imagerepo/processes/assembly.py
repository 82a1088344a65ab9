"""The only place where adapters meet flows."""

from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.index_sql.metadata_cache import SqlMetadataCache
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.segments.commits import SegmentCommits
from imagerepo.adapters.segments.folder import Folder
from imagerepo.adapters.segments.intervals import SharedIntervals
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.flows.access import Access
from imagerepo.flows.audit import Audit
from imagerepo.flows.ingest.ingest import Ingest, Limits
from imagerepo.flows.metadata import Metadata
from imagerepo.flows.repository import Repository
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.search import Search
from imagerepo.settings import Settings


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
            metadata=Metadata(retrieve, SqlMetadataCache(folder.data)),
            audit=Audit(commits, SharedIntervals(folder.intervals), settings.audit.interval),
            index=index,
        ),
        commits,
    )


def data_folder(settings: Settings) -> Path:
    """The data folder, absolute: workers may have another working folder."""
    return settings.data.absolute()
