"""A repository over the memory adapters, for servers that run within the tests."""

from imagerepo.adapters.memory import (
    Memory,
    MemoryChangeFeed,
    MemoryHolds,
    MemoryIndex,
    MemoryMetadataCache,
    MemoryObjects,
)
from imagerepo.adapters.memory_intervals import MemoryIntervals
from imagerepo.adapters.memory_tasks import MemoryTasks
from imagerepo.adapters.memory_worklist import MemoryWorklist
from imagerepo.adapters.painting.pool import Limits as PaintingLimits
from imagerepo.adapters.painting.pool import PainterPool
from imagerepo.flows.access import Access
from imagerepo.flows.audit import Audit
from imagerepo.flows.blocking_audit import BlockingAudit
from imagerepo.flows.changes import Changes
from imagerepo.flows.commitment import Commitments, Inspection
from imagerepo.flows.deletion import Deletion
from imagerepo.flows.headers import Headers
from imagerepo.flows.ingest.ingest import Ingest, Limits
from imagerepo.flows.metadata import Metadata
from imagerepo.flows.nodes import Nodes
from imagerepo.flows.pictures import Bounds, Pictures
from imagerepo.flows.repository import Repository
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.search import OptionalKeys, Search
from imagerepo.flows.worklist import Worklist
from imagerepo.ports.commits import Commits
from imagerepo.settings import Settings


def assemble(settings: Settings, memory: Memory, commits: Commits) -> Repository:
    access = Access(settings.tenants, settings.ae_title)
    index = MemoryIndex(memory)
    retrieve = Retrieve(index, MemoryObjects(memory))
    storage = settings.storage
    intervals = MemoryIntervals()
    limits = Limits(storage.file_threshold, storage.buffer_budget, storage.instance_size_limit)
    metadata = Metadata(retrieve, MemoryMetadataCache())
    optional = OptionalKeys.of(settings.search.optional_keys, settings.search.most_headers)
    nodes = Nodes(settings)
    return Repository(
        settings,
        access,
        nodes,
        Commitments(MemoryTasks(), nodes, Inspection(retrieve, settings.commitment), settings.commitment),
        Ingest(commits, limits, access.on_difference),
        Deletion(commits, index, MemoryHolds(memory), settings.deletion),
        retrieve,
        Search(index, Headers(index, metadata), optional),
        metadata,
        _pictures(settings, retrieve),
        Audit(commits, intervals, settings.audit.interval),
        BlockingAudit(Audit(commits, intervals, settings.audit.interval)),
        Worklist(MemoryWorklist(), commits),
        index,
        Changes(MemoryChangeFeed(memory)),
    )


def _pictures(settings: Settings, retrieve: Retrieve) -> Pictures:
    rendering = settings.rendering
    painters = PainterPool(PaintingLimits(rendering.painters, rendering.memory, rendering.time_limit))
    return Pictures(
        retrieve, painters, Bounds(rendering.painters, rendering.queue, rendering.cache, rendering.frame_limit)
    )
