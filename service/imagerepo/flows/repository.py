"""The flows of one process, as the protocols use them; made in processes/assembly/flows.py."""

from dataclasses import dataclass

from imagerepo.flows.access import Access
from imagerepo.flows.audit import Audit
from imagerepo.flows.blocking_audit import BlockingAudit
from imagerepo.flows.changes import Changes
from imagerepo.flows.commitment import Commitments
from imagerepo.flows.deletion import Deletion
from imagerepo.flows.ingest.ingest import Ingest
from imagerepo.flows.metadata import Metadata
from imagerepo.flows.nodes import Nodes
from imagerepo.flows.pictures import Pictures
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.search import Search
from imagerepo.flows.worklist import Worklist
from imagerepo.ports.index import Index
from imagerepo.settings import Settings


@dataclass(frozen=True, slots=True)
class Repository:
    """What a protocol may use."""

    settings: Settings
    access: Access
    nodes: Nodes
    commitments: Commitments
    ingest: Ingest
    deletion: Deletion
    retrieve: Retrieve
    search: Search
    metadata: Metadata
    pictures: Pictures
    audit: Audit
    blocking_audit: BlockingAudit  # the same for threads that block
    worklist: Worklist
    index: Index
    changes: Changes
