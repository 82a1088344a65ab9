"""Storage Commitment with pynetdicom as the modality: on its own association, on ours, and after a death."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import yaml
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pynetdicom import AE
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from tests.harness.dicom_file import DicomFile, ct
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.receiver import await_, free_port
from tests.harness.server import Server
from tests.harness.web_client import get
from tests.wire.commitment_peer import Ears, ask, listening, request
from tests.wire.dimse_peer import IMPLICIT, RELEASE_RP, RELEASE_RQ, Peer, associate_rq, command, message, ui, us

FILES = [ct(number, size=4096) for number in range(1, 6)]
MISSING = ct(99)
NO_SUCH_INSTANCE, CLASS_CONFLICT, PROCESSING_FAILURE = 0x0112, 0x0119, 0x0110


def settings(folder: Path, ports: Mapping[str, int], **more: object) -> Path:
    """A file that knows modalities."""
    nodes = [
        {"name": name.lower(), "ae_title": name, "host": "127.0.0.1", "port": port, "connect_timeout": 2}
        for name, port in ports.items()
    ]
    file = folder / "settings.yaml"
    file.write_text(yaml.safe_dump({"nodes": nodes, "retry": {"first": 0.2, "longest": 0.5}, **more}))
    return file


def send(server: Server, files: Sequence[DicomFile] = FILES) -> None:
    with DimseClient(server.dimse) as client:
        for file in files:
            assert client.store(file.instance, file.data_set) == SUCCESS
        client.release()


def uids(files: Sequence[DicomFile]) -> set[str]:
    return {file.instance for file in files}


def damage(data: Path, file: DicomFile) -> None:
    """Change a byte of its pixels, on the disk."""
    for path in (data / "segments").iterdir():
        at = path.read_bytes().find(file.pixels)
        if at >= 0:
            descriptor = os.open(path, os.O_RDWR)
            os.pwrite(descriptor, bytes([file.pixels[100] ^ 1]), at + 100)
            os.close(descriptor)
            return
    raise AssertionError("not stored in a segment")


def pending(server: Server) -> int:
    _, body = get(server.http, "/metrics")
    line = next(one for one in body.decode().splitlines() if 'imagerepo_tasks_pending{kind="commitment"}' in one)
    return int(float(line.split()[-1]))


def test_a_modality_that_is_no_node_is_told_on_its_own_association(plain: Server) -> None:
    send(plain)
    damage(plain.data, FILES[2])
    asked, ears = request([*FILES, MISSING]), Ears()
    assert ask(plain.dimse, asked, stays=20, ears=ears) == SUCCESS
    told = ears.await_()
    assert (told.event_type, told.transaction) == (2, asked.TransactionUID)
    assert told.committed == uids(FILES) - {FILES[2].instance}
    assert told.failed == {FILES[2].instance: PROCESSING_FAILURE, MISSING.instance: NO_SUCH_INSTANCE}
    await_(lambda: pending(plain) == 0, 5)


def test_nothing_is_read_for_a_modality_that_has_released(plain: Server) -> None:
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, True
    write_dataset(file, request(FILES))
    names = ui(0x3, str(StorageCommitmentPushModel)), ui(0x1001, str(StorageCommitmentPushModelInstance))
    asked = command(names[0], us(0x100, 0x130), us(0x110, 1), us(0x800, 1), names[1], us(0x1008, 1))
    with Peer(plain.dimse) as peer:
        peer.associate(associate_rq(contexts=((1, str(StorageCommitmentPushModel), (IMPLICIT,)),)))
        peer.send(message(1, asked, file.getvalue()) + RELEASE_RQ)
        assert peer.response().status == SUCCESS
        assert peer.receive()[0] == RELEASE_RP[0]  # and no report


def test_a_modality_that_is_a_node_is_called(known: Server, ports: dict[str, int]) -> None:
    ears, asked = Ears(), request(FILES)
    with listening(ears, ports["MODALITY"]):
        assert ask(known.dimse, asked) == SUCCESS
        told = ears.await_()
        assert (told.event_type, told.transaction) == (1, asked.TransactionUID)
        assert (told.committed, told.failed) == (uids(FILES), {})
        wrong = request(FILES[:1], sop_class="1.2.840.10008.5.1.4.1.1.4")
        assert ask(known.dimse, wrong) == SUCCESS
        assert ears.await_(2).failed == {FILES[0].instance: CLASS_CONFLICT}
        await_(lambda: pending(known) == 0, 5)


def test_a_node_that_wants_it_so_is_told_on_its_own_association(known: Server, ports: dict[str, int]) -> None:
    called, own = Ears(), Ears()
    with listening(called, ports["SAME"]):
        assert ask(known.dimse, request(FILES), calling="SAME", stays=20, ears=own) == SUCCESS
        assert own.await_().committed == uids(FILES)
        await_(lambda: pending(known) == 0, 5)
        assert (len(own.told), called.told) == (1, [])


def test_a_report_that_is_refused_is_told_again(known: Server, ports: dict[str, int]) -> None:
    ears = Ears(status=0x0110)
    with listening(ears, ports["REFUSING"]):
        assert ask(known.dimse, request(FILES), calling="REFUSING") == SUCCESS
        ears.await_(2)
        ears.status = SUCCESS
        await_(lambda: pending(known) == 0, 10)


def test_a_report_comes_though_the_modality_was_away_and_the_server_killed(tmp_path: Path) -> None:
    port, ears = free_port(), Ears()
    config = str(settings(tmp_path, {"MODALITY": port}))
    asked = request(FILES)
    with Server(tmp_path / "data", "--config", config, storage__reserve=0) as server:
        send(server)
        assert ask(server.dimse, asked) == SUCCESS
        server.kill()
    with Server(tmp_path / "data", "--config", config, storage__reserve=0) as server:
        await_(lambda: "queue.failed" in server.said(), 20)
        assert pending(server) == 1
        with listening(ears, port):
            assert ears.await_().transaction == asked.TransactionUID
            await_(lambda: pending(server) == 0, 5)
        assert server.stop() == 0
    assert len(ears.told) == 1


def test_presence_is_checked_without_reading_all_where_that_is_set(tmp_path: Path) -> None:
    with Server(tmp_path / "data", storage__reserve=0, commitment__checks="presence") as server:
        send(server)
        damage(tmp_path / "data", FILES[2])
        ears = Ears()
        assert ask(server.dimse, request([*FILES, MISSING]), stays=20, ears=ears) == SUCCESS
        assert ears.await_().failed == {MISSING.instance: NO_SUCH_INSTANCE}


@pytest.mark.parametrize(
    ("change", "action", "instance", "status"),
    [
        ({"TransactionUID": None}, 1, "1.2.840.10008.1.20.1.1", 0x0120),
        ({"ReferencedSOPSequence": None}, 1, "1.2.840.10008.1.20.1.1", 0x0120),
        ({"ReferencedSOPSequence": []}, 1, "1.2.840.10008.1.20.1.1", 0x0115),
        ({}, 2, "1.2.840.10008.1.20.1.1", 0x0123),
        ({}, 1, "1.2.3", 0x0112),
    ],
)
def test_what_cannot_be_asked_is_refused_with_the_standard_s_status(
    plain: Server, change: dict[str, object], action: int, instance: str, status: int
) -> None:
    asked: Dataset = request(FILES)
    for keyword, value in change.items():
        if value is None:
            delattr(asked, keyword)
        else:
            setattr(asked, keyword, value)
    ae = AE("MODALITY")
    ae.add_requested_context(StorageCommitmentPushModel)
    association = ae.associate("127.0.0.1", plain.dimse, ae_title="IMAGEREPO")
    answer, _ = association.send_n_action(asked, action, StorageCommitmentPushModel, instance)
    association.release()
    assert answer.Status == status


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that knows nobody."""
    with Server(tmp_path_factory.mktemp("plain") / "data", storage__reserve=0) as server:
        yield server
        assert server.stop() == 0


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """Where modalities listen, if they do."""
    return {name: free_port() for name in ("MODALITY", "SAME", "REFUSING")}


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Server]:
    """A server that knows modalities, and has the instances."""
    folder = tmp_path_factory.mktemp("known")
    config = settings(folder, ports, commitment={"same_association": ["SAME"]})
    with Server(folder / "data", "--config", str(config), storage__reserve=0) as server:
        send(server)
        yield server
        assert server.stop() == 0
