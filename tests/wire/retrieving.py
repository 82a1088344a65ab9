"""What tests of C-MOVE and C-GET share: instances put in directly, and destinations that take them, or do not."""

import struct
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.presentation import PresentationContext

from imagerepo.flows.ingest.ingest import Arrival
from imagerepo.flows.repository import Repository
from imagerepo.model.caller import Caller, Protocol, Role
from imagerepo.settings_nodes import Node
from tests.harness.dicom_file import CT, EXPLICIT, DicomFile

CALLER = Caller("default", "test", "127.0.0.1", Protocol.CLI, frozenset({Role.WRITE}))
COUNTS = (
    "NumberOfRemainingSuboperations",
    "NumberOfCompletedSuboperations",
    "NumberOfFailedSuboperations",
    "NumberOfWarningSuboperations",
)


def put(repository: Repository, files: Iterable[bytes]) -> None:
    """Store Part 10 files."""
    for one in files:
        receiver = repository.ingest.receiver()
        receiver.write(memoryview(one))
        (outcome,) = repository.ingest.store([Arrival(CALLER, receiver.payload())])
        assert outcome.error is None, outcome


def series(
    count: int, *, study: str = "1.2.3", number: int = 1, size: int = 2048, patient: str = "P1"
) -> list[DicomFile]:
    """Instances that can be told apart by their pixels."""
    return [
        DicomFile(
            study,
            f"{study}.{number}",
            f"{study}.{number}.{one}",
            struct.pack("<I", one) * (size // 4),
            {0x00100020: ("LO", patient)},
        )
        for one in range(1, count + 1)
    ]


def identifier(level: str, **values: str | Sequence[str]) -> Dataset:
    """Of a retrieval."""
    found = Dataset()
    found.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(found, keyword, value)
    return found


def counts(status: Dataset) -> tuple[int | None, ...]:
    """Remaining, completed, failed, warned."""
    return tuple(status.get(name) for name in COUNTS)


@dataclass
class Destination:
    """Takes instances; `answer` is the status of each, told by its SOP Instance UID."""

    answer: Callable[[str], int] = lambda _: 0
    data_sets: dict[str, bytes] = field(default_factory=dict[str, bytes])
    requests: list[Dataset] = field(default_factory=list[Dataset])
    associations: list[object] = field(default_factory=list[object])
    most: int = 0  # associations at the same time

    def store(self, event: evt.Event) -> int:
        """Take one."""
        request = event.request
        self.requests.append(request)
        status = self.answer(str(request.AffectedSOPInstanceUID))
        if status == 0:
            self.data_sets[str(request.AffectedSOPInstanceUID)] = request.DataSet.getvalue()
        return status

    def opened(self, event: evt.Event) -> None:
        """Count an association."""
        self.associations.append(event.assoc)
        self.most = max(self.most, sum(one.is_alive() for one in self.associations))


def context(sop_class: str, *syntaxes: str) -> PresentationContext:
    """A presentation context."""
    one = PresentationContext()
    one.abstract_syntax = sop_class
    one.transfer_syntax = list(syntaxes)
    return one


@contextmanager
def listening(
    destination: Destination, contexts: Sequence[PresentationContext] = (), maximum_associations: int = 10
) -> Iterator[int]:
    """Serve a destination with AE title DEST; its port."""
    ae = AE(ae_title="DEST")
    ae.maximum_associations = maximum_associations
    handlers = [(evt.EVT_C_STORE, destination.store), (evt.EVT_ACCEPTED, destination.opened)]
    taken = list(contexts) or [context(CT, EXPLICIT)]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, contexts=taken)
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


def node(port: int, **values: object) -> Node:
    """A destination as a setting."""
    return Node.model_validate({"name": "dest", "ae_title": "DEST", "host": "127.0.0.1", "port": port, **values})


@contextmanager
def released(event: threading.Event) -> Iterator[None]:
    """Whoever waits for `event` waits no longer than this context."""
    try:
        yield
    finally:
        event.set()
