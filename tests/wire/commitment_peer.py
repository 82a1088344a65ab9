"""A modality that asks for storage commitment and hears what became of it: pynetdicom on both sides."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from tests.harness.dicom_file import CT, DicomFile
from tests.harness.receiver import await_

SUCCESS = 0x0000


@dataclass(frozen=True)
class Told:
    """One report."""

    event_type: int
    transaction: str
    committed: frozenset[str]
    failed: dict[str, int]  # Failure Reason by SOP Instance UID


@dataclass
class Ears:
    """What a modality was told; answers each report with a status."""

    status: int = SUCCESS
    told: list[Told] = field(default_factory=list)

    def __call__(self, event: evt.Event) -> tuple[int, Dataset | None]:
        said = event.event_information
        self.told.append(
            Told(
                event.event_type,
                said.TransactionUID,
                frozenset(one.ReferencedSOPInstanceUID for one in said.get("ReferencedSOPSequence", [])),
                {one.ReferencedSOPInstanceUID: one.FailureReason for one in said.get("FailedSOPSequence", [])},
            )
        )
        return self.status, None

    def await_(self, count: int = 1, seconds: float = 20) -> Told:
        """The last of so many reports."""
        await_(lambda: len(self.told) >= count, seconds)
        return self.told[count - 1]


def request(files: Iterable[DicomFile], sop_class: str = CT) -> Dataset:
    """What a modality asks for."""
    asked = Dataset()
    asked.TransactionUID = generate_uid()
    items = []
    for file in files:
        item = Dataset()
        item.ReferencedSOPClassUID = sop_class
        item.ReferencedSOPInstanceUID = file.instance
        items.append(item)
    asked.ReferencedSOPSequence = items
    return asked


def ask(port: int, asked: Dataset, *, calling: str = "MODALITY", stays: float = 0, ears: Ears | None = None) -> int:
    """N-ACTION; the status. The association stays open for so long, or until a report has come."""
    ae = AE(calling)
    ae.add_requested_context(StorageCommitmentPushModel)
    heard = ears or Ears()
    handlers = [(evt.EVT_N_EVENT_REPORT, heard)]
    association = ae.associate("127.0.0.1", port, ae_title="IMAGEREPO", evt_handlers=handlers)  # pyright: ignore[reportArgumentType] - pynetdicom's types
    assert association.is_established
    status, _ = association.send_n_action(asked, 1, StorageCommitmentPushModel, StorageCommitmentPushModelInstance)
    until = time.monotonic() + stays
    while time.monotonic() < until and not heard.told:
        time.sleep(0.02)
    association.release()
    return status.Status


@contextmanager
def listening(ears: Ears, port: int, ae_title: str = "MODALITY") -> Iterator[None]:
    """A modality that is called for its reports."""
    ae = AE(ae_title)
    ae.add_supported_context(StorageCommitmentPushModel, scu_role=False, scp_role=True)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, ears)])  # pyright: ignore[reportArgumentType] - likewise
    assert server is not None
    try:
        yield
    finally:
        server.shutdown()
