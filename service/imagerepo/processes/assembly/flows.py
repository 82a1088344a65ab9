"""Flows over what a shape has opened."""

from collections.abc import Callable
from dataclasses import dataclass

from imagerepo.adapters.painting.pool import Limits as PaintingLimits
from imagerepo.adapters.painting.pool import PainterPool
from imagerepo.dicomweb.sending import WebSendings
from imagerepo.dimse.client.storing import DimsePeers
from imagerepo.dimse.commitment_report import DimseReporters
from imagerepo.dimse.outgoing import DataSets
from imagerepo.flows.access import Access
from imagerepo.flows.audit import Audit
from imagerepo.flows.blocking_audit import BlockingAudit
from imagerepo.flows.changes import Changes
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
from imagerepo.flows.sealing import TRUSTING, Verifying
from imagerepo.flows.search import OptionalKeys, Search
from imagerepo.flows.webhooks import Announcing, Hooks, Telling
from imagerepo.flows.work import Attempts, Workforce
from imagerepo.flows.worklist import Worklist
from imagerepo.processes.assembly.parts import Parts, Reads
from imagerepo.rest.webhook_posts import WebhookPostings
from imagerepo.settings import Settings


@dataclass(frozen=True, slots=True)
class Assembled:
    """A repository and what has to be closed with it."""

    repository: Repository
    parts: Parts

    def close(self) -> None:
        """Let go of files and connections; nothing may be under way."""
        self.repository.pictures.close()
        self.repository.blocking_audit.close()
        self.parts.close()


def assembled(settings: Settings, parts: Parts) -> Assembled:
    """What a process with a port serves."""
    commits, reads = parts.commits, parts.reads
    access = Access(settings.tenants, settings.ae_title)
    retrieve = _retrieve(settings, reads)
    metadata = Metadata(retrieve, reads.kept)
    storage = settings.storage
    ingest = Ingest(
        commits,
        Limits(storage.file_threshold, storage.buffer_budget, storage.instance_size_limit),
        access.on_difference,
    )
    nodes = Nodes(settings)
    inspection = Inspection(retrieve, settings.commitment)
    return Assembled(
        Repository(
            settings=settings,
            access=access,
            nodes=nodes,
            commitments=Commitments(parts.tasks, nodes, inspection, settings.commitment),
            ingest=ingest,
            deletion=deletion(settings, parts),
            retrieve=retrieve,
            search=Search(reads.index, Headers(reads.index, metadata), _optional_keys(settings)),
            metadata=metadata,
            pictures=_pictures(settings, retrieve),
            audit=Audit(commits, parts.intervals, settings.audit.interval),
            blocking_audit=BlockingAudit(Audit(commits, parts.intervals, settings.audit.interval)),
            worklist=Worklist(parts.worklist, commits),
            index=reads.index,
            changes=Changes(parts.changes),
        ),
        parts,
    )


def office(settings: Settings, parts: Parts) -> Office:
    """What does deferred work."""
    tasks = parts.tasks
    retrieve = _retrieve(settings, parts.reads)
    nodes = Nodes(settings)
    destinations = Destinations(settings, nodes, Ways(DimsePeers(DataSets(retrieve)), WebSendings(retrieve)))
    audit = BlockingAudit(Audit(parts.commits, parts.intervals, settings.audit.interval))
    attempts = Attempts(tasks, settings.retry)
    hooks, announcing = Hooks(settings.tenants), Announcing(parts.changes, tasks)
    handlers = (
        Forward(tasks, attempts, retrieve, destinations, audit),
        Telling(tasks, attempts, hooks, announcing, WebhookPostings()),
        Reporting(tasks, attempts, nodes, Inspection(retrieve, settings.commitment), DimseReporters()),
    )
    return Office(
        tasks=tasks,
        nodes=nodes,
        destinations=destinations,
        forwarding=Forwarding(parts.feed(), tasks, Metadata(retrieve, parts.reads.kept), retrieve),
        workforce=Workforce(tasks, handlers),
        audit=audit,
        rules=Rules(settings.forwarding.rules),
        hooks=hooks,
        announcing=announcing,
    )


def deletion(settings: Settings, parts: Parts) -> Deletion:
    """What deletes and holds."""
    return Deletion(parts.commits, parts.reads.index, parts.holds, settings.deletion)


def readying(reads: Reads, has_room: Callable[[], bool]) -> Readying:
    """What works ahead of demand; it writes the metadata cache alone."""
    retrieve = Retrieve(reads.index, reads.objects)
    return Readying(reads.index, retrieve, Metadata(retrieve, reads.kept), has_room)


def _retrieve(settings: Settings, reads: Reads) -> Retrieve:
    verifies = settings.cluster is not None and settings.cluster.store.verify_reads
    return Retrieve(reads.index, reads.objects, Verifying() if verifies else TRUSTING)


def _pictures(settings: Settings, retrieve: Retrieve) -> Pictures:
    rendering = settings.rendering
    painters = PaintingLimits(rendering.painters, rendering.memory, rendering.time_limit)
    bounds = Bounds(rendering.painters, rendering.queue, rendering.cache, rendering.frame_limit)
    return Pictures(retrieve, PainterPool(painters), bounds)


def _optional_keys(settings: Settings) -> OptionalKeys:
    return OptionalKeys.of(settings.search.optional_keys, settings.search.most_headers)
