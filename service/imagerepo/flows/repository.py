"""The flows of one process, as the protocols use them; made in processes/assembly.py."""

from dataclasses import dataclass

from imagerepo.flows.access import Access
from imagerepo.flows.audit import Audit
from imagerepo.flows.ingest.ingest import Ingest
from imagerepo.flows.metadata import Metadata
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.search import Search
from imagerepo.ports.index import Index
from imagerepo.settings import Settings


@dataclass(frozen=True, slots=True)
class Repository:
    """What a protocol may use."""

    settings: Settings
    access: Access
    ingest: Ingest
    retrieve: Retrieve
    search: Search
    metadata: Metadata
    audit: Audit
    index: Index
