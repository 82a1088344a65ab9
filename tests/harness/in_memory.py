"""A repository over the memory adapters, for servers that run within the tests."""

from imagerepo.adapters.memory import Memory, MemoryIndex, MemoryMetadataCache, MemoryObjects
from imagerepo.adapters.memory_intervals import MemoryIntervals
from imagerepo.flows.access import Access
from imagerepo.flows.audit import Audit
from imagerepo.flows.ingest.ingest import Ingest, Limits
from imagerepo.flows.metadata import Metadata
from imagerepo.flows.repository import Repository
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.search import Search
from imagerepo.ports.commits import Commits
from imagerepo.settings import Settings


def assemble(settings: Settings, memory: Memory, commits: Commits) -> Repository:
    access = Access(settings.tenants, settings.ae_title)
    index = MemoryIndex(memory)
    retrieve = Retrieve(index, MemoryObjects(memory))
    storage = settings.storage
    limits = Limits(storage.file_threshold, storage.buffer_budget, storage.instance_size_limit)
    return Repository(
        settings,
        access,
        Ingest(commits, limits, access.on_difference),
        retrieve,
        Search(index),
        Metadata(retrieve, MemoryMetadataCache()),
        Audit(commits, MemoryIntervals(), settings.audit.interval),
        index,
    )
