"""The table of services: what stands here is offered in negotiation, and served.

Source: PS3.7 section 9.1 and 10.1 (DIMSE services); PS3.4 (service classes).
"""

from imagerepo.dimse import commitment_report, mpps
from imagerepo.dimse.client.storing import DimsePeers
from imagerepo.dimse.commitment import CommitmentService
from imagerepo.dimse.find import Find
from imagerepo.dimse.get import Get
from imagerepo.dimse.messages import CommandField
from imagerepo.dimse.move import Move
from imagerepo.dimse.negotiate import VERIFICATION, storage
from imagerepo.dimse.outgoing import DataSets
from imagerepo.dimse.query_retrieve import FIND, GET, MOVE
from imagerepo.dimse.services import Echo, Entry, store
from imagerepo.dimse.worklist import MODALITY_WORKLIST, FindWorklist
from imagerepo.flows.repository import Repository


def entries(repository: Repository) -> tuple[Entry, ...]:
    """All services of a repository."""
    ingest = repository.ingest
    stored = storage(repository.settings.dimse)
    data_sets = DataSets(repository.retrieve)
    return (
        Entry("C-ECHO", CommandField.C_ECHO_RQ, frozenset({VERIFICATION}), Echo),
        Entry("C-STORE", CommandField.C_STORE_RQ, stored, lambda request: store(ingest, request)),
        Entry("C-FIND", CommandField.C_FIND_RQ, frozenset(FIND), Find(repository)),
        Entry("C-MOVE", CommandField.C_MOVE_RQ, frozenset(MOVE), Move(repository, DimsePeers(data_sets))),
        Entry("C-GET", CommandField.C_GET_RQ, frozenset(GET), Get(repository, data_sets)),
        Entry("C-FIND", CommandField.C_FIND_RQ, frozenset({MODALITY_WORKLIST}), FindWorklist(repository)),
        Entry("N-CREATE", CommandField.N_CREATE_RQ, frozenset({mpps.MPPS}), mpps.Create(repository)),
        Entry("N-SET", CommandField.N_SET_RQ, frozenset({mpps.MPPS}), mpps.Set(repository)),
        Entry("N-GET", CommandField.N_GET_RQ, frozenset({mpps.MPPS_RETRIEVE}), mpps.Get(repository)),
        Entry(
            "N-ACTION",
            CommandField.N_ACTION_RQ,
            frozenset({commitment_report.SOP_CLASS}),
            CommitmentService(repository.commitments),
        ),
    )
