"""C-MOVE and C-GET of the real process tree, from the real store."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from pydicom.dataset import Dataset
from pynetdicom import AE, Association, build_role, evt
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelGet, StudyRootQueryRetrieveInformationModelMove

from tests.harness.dicom_file import CT, EXPLICIT, DicomFile
from tests.harness.dimse_client import DimseClient
from tests.harness.server import Server
from tests.harness.web_client import get
from tests.wire.retrieving import Destination, context, counts, identifier, listening, released, series

GET = str(StudyRootQueryRetrieveInformationModelGet)
MOVE = str(StudyRootQueryRetrieveInformationModelMove)
IMPLICIT = "1.2.840.10008.1.2"
ALL = identifier("STUDY", StudyInstanceUID="1.2.3")
FILES = (
    *series(20, size=1024),  # many share a segment
    *series(5, number=2, size=300_000),  # past the page cache
    *series(2, number=3, size=12_000_000),  # files of their own
)


def config(folder: Path, port: int, **settings: object) -> Path:
    path = folder / "imagerepo.yaml"
    node = {"name": "dest", "ae_title": "DEST", "host": "127.0.0.1", "port": port, "associations": 2}
    path.write_text(yaml.safe_dump({"nodes": [node], **settings}))
    return path


def store(server: Server, files: tuple[DicomFile, ...]) -> None:
    with DimseClient(server.dimse) as client:
        for file in files:
            assert client.store(file.instance, file.data_set) == 0
        client.release()


def associate(server: Server, taken: Destination) -> Association:
    ae = AE(ae_title="VIEWER")
    association = ae.associate(
        "127.0.0.1",
        server.dimse,
        contexts=[context(GET, IMPLICIT), context(MOVE, IMPLICIT), context(CT, EXPLICIT)],
        ae_title="IMAGEREPO",
        ext_neg=[build_role(CT, scp_role=True)],
        evt_handlers=[(evt.EVT_C_STORE, taken.store)],
    )
    assert association.is_established
    return association


@pytest.fixture(scope="module")
def destination() -> Destination:
    return Destination()


@pytest.fixture(scope="module")
def server(destination: Destination, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("retrieve")
    with (
        listening(destination) as port,
        Server(folder / "data", "--config", str(config(folder, port))) as one,
    ):
        store(one, FILES)
        yield one


def last(responses: Iterator[tuple[Dataset, Dataset | None]]) -> Dataset:
    return list(responses)[-1][0]


def test_small_and_large_instances_are_moved_byte_for_byte(server: Server, destination: Destination) -> None:
    association = associate(server, Destination())
    status = last(association.send_c_move(ALL, "DEST", MOVE))
    association.release()
    assert counts(status) == (None, 27, 0, 0)
    assert destination.data_sets == {file.instance: file.data_set for file in FILES}
    assert len(destination.associations) == 2


def test_small_and_large_instances_are_got_byte_for_byte(server: Server) -> None:
    taken = Destination()
    association = associate(server, taken)
    status = last(association.send_c_get(ALL, GET))
    association.release()
    assert counts(status) == (None, 27, 0, 0)
    assert taken.data_sets == {file.instance: file.data_set for file in FILES}


def test_what_was_sent_is_in_the_metrics(server: Server) -> None:
    association = associate(server, Destination())
    before = sent_bytes(server)
    assert last(association.send_c_get(ALL, GET)).Status == 0
    association.release()
    assert sent_bytes(server) - before == sum(len(file.data_set) for file in FILES)


def sent_bytes(server: Server) -> float:
    _, body = get(server.http, "/metrics")
    lines = [line for line in body.decode().splitlines() if line.startswith("imagerepo_retrieved_bytes_total{")]
    return sum(float(line.split()[-1]) for line in lines)


def test_a_server_ends_within_its_grace_while_a_destination_stalls(tmp_path: Path) -> None:
    stalled = threading.Event()
    begun = threading.Event()

    def answer(_: str) -> int:
        begun.set()
        stalled.wait(60)
        return 0

    with (
        listening(Destination(answer)) as port,
        released(stalled),
        Server(tmp_path / "data", "--config", str(config(tmp_path, port, drain_grace=2.0))) as server,
    ):
        store(server, tuple(series(5)))
        association = associate(server, Destination())
        association.dimse_timeout = 1
        moving = threading.Thread(target=lambda: list(association.send_c_move(ALL, "DEST", MOVE)), daemon=True)
        moving.start()
        assert begun.wait(20)
        assert server.stop() == 0
        stalled.set()
        moving.join(20)
        assert not moving.is_alive()


def test_pynetdicom_s_getscu_which_offers_implicit_vr_first_gets_what_is_stored_as_explicit(
    server: Server, tmp_path: Path
) -> None:
    keys = ("-k", "QueryRetrieveLevel=SERIES", "-k", f"StudyInstanceUID={FILES[0].study}")
    keys += ("-k", f"SeriesInstanceUID={FILES[0].series}")
    command = [sys.executable, "-m", "pynetdicom", "getscu", "-S", "-aec", "IMAGEREPO", *keys, "-od", str(tmp_path)]
    subprocess.run([*command, "127.0.0.1", str(server.dimse)], check=True, capture_output=True, timeout=60)
    assert len(list(tmp_path.iterdir())) == 20
