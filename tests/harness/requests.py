"""What ingest hands to a commit, made from a file."""

from datetime import UTC, datetime

from blake3 import blake3

from imagerepo.dicom import part10
from imagerepo.model import checksum
from imagerepo.model.arrival import InMemory, Payload
from imagerepo.model.caller import Caller, Protocol, Role
from imagerepo.model.events import Action, ChangeRequest, JournalRequest, OnDifference, StoreRequest
from imagerepo.model.uids import Uid
from imagerepo.ports.commits import Commits
from tests.harness.dicom_file import DicomFile, uid


def caller(institution: str = "default") -> Caller:
    """Somebody of an institution."""
    return Caller(institution, "ae:TEST", "127.0.0.1", Protocol.DIMSE, frozenset({Role.ADMIN}))


def store(
    file: DicomFile,
    institution: str = "default",
    on_difference: OnDifference = OnDifference.VERSION,
    payload: Payload | None = None,
) -> StoreRequest:
    """A request to store `file`."""
    whole = file.part10
    meta = part10.read_meta(whole)
    attributes, layout = part10.read_data_set(
        memoryview(whole)[meta.data_set_offset :], meta.transfer_syntax, meta.data_set_offset
    )
    return StoreRequest(
        caller=caller(institution),
        attributes=attributes,
        layout=layout,
        transfer_syntax=meta.transfer_syntax,
        digest=blake3(file.data_set).digest(),
        crc32=checksum.crc32(whole, 0),
        payload=payload or InMemory((whole,), len(whole)),
        received_at=datetime.now(UTC),
        on_difference=on_difference,
    )


def spooled(commits: Commits, file: DicomFile) -> StoreRequest:
    """A request whose bytes lie in a file already."""
    spool = commits.spool()
    spool.write(file.part10)
    return store(file, payload=spool)


def journal(action: Action = Action.QUERY, institution: str = "default", **detail: str | int) -> JournalRequest:
    """An entry for the journal."""
    return JournalRequest(caller(institution), action, datetime.now(UTC), tuple(detail.items()))


def change(
    action: Action, study: int, *below: int, institution: str = "default", reason: str = "why"
) -> ChangeRequest:
    """A deletion, or a hold: of the study of that number, or of the series and the instance in it."""
    names = [uid(*(study, *below)[: depth + 1]) for depth in range(1 + len(below))]
    series, instance = [*names[1:], None, None][:2]
    at = datetime.now(UTC)
    return ChangeRequest(caller(institution), action, at, Uid(names[0]), _uid(series), _uid(instance), reason)


def _uid(text: str | None) -> Uid | None:
    return None if text is None else Uid(text)
