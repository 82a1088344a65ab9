"""Every file that pydicom and pydicom-data bring: in over STOW-RS and DIMSE, out over WADO-RS and /image.

Byte for byte, against the real process tree. Files that are no composite instances, or are broken on purpose, are
left to the tests of bad input.
"""

from collections.abc import Iterator
from pathlib import Path

import data_store
import pydicom.data
import pytest
from pydicom.uid import AllTransferSyntaxes

from imagerepo.dicom import part10
from imagerepo.errors import RefusedError
from imagerepo.model.instance import Attributes
from tests.harness.server import Server
from tests.harness.web_client import WebClient, get
from tests.wire import dimse_peer
from tests.wire.dimse_peer import Peer

FOLDERS = (Path(pydicom.data.__file__).parent / "test_files", Path(data_store.__file__).parent / "data")
FEWEST = 120  # files that can be stored; fewer means that the packages were not found whole
FEWEST_SYNTAXES = 11  # likewise, transfer syntaxes among them


class Sample:
    """One file, read as ingest reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.content = path.read_bytes()
        self.meta = part10.read_meta(self.content)
        self.attributes: Attributes
        self.attributes, _ = part10.read_data_set(
            memoryview(self.content)[self.meta.data_set_offset :], self.meta.transfer_syntax, self.meta.data_set_offset
        )

    @property
    def data_set(self) -> bytes:
        return self.content[self.meta.data_set_offset :]


def storable() -> Iterator[Sample]:
    for folder in FOLDERS:
        for path in sorted(folder.rglob("*")):
            if not path.is_file() or path.stat().st_size > 32 << 20:
                continue
            try:
                yield Sample(path)
            except RefusedError:
                continue


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    found = list(storable())
    assert len(found) >= FEWEST
    assert len({sample.meta.transfer_syntax for sample in found} & set(AllTransferSyntaxes)) >= FEWEST_SYNTAXES
    return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("trip") / "data", workers=2, storage__reserve=0) as running:
        yield running


def split(samples: list[Sample]) -> tuple[list[Sample], list[Sample]]:
    """Those to be stored, and those whose SOP Instance UID lies in another study or series by then."""
    homes: dict[str, tuple[str, str]] = {}
    stored: list[Sample] = []
    refused: list[Sample] = []
    for sample in samples:
        one = sample.attributes
        home = (one.study_uid, one.series_uid)
        (stored if homes.setdefault(one.instance_uid, home) == home else refused).append(sample)
    return stored, refused


def test_stow_gives_back_every_file_as_uploaded(server: Server, samples: list[Sample]) -> None:
    stored, refused = split(samples)
    with WebClient(server.http) as client:
        for sample in samples:
            answer = client.stow_streamed([sample.content], len(sample.content))
            assert (answer.status == 200) == (sample in stored), (sample.path.name, answer)
    assert len(refused) < len(stored) / 10
    for sample in stored:
        assert version_of(server, sample) == sample.content, sample.path.name


def test_c_store_keeps_every_data_set_as_received(tmp_path: Path, samples: list[Sample]) -> None:
    with Server(tmp_path / "data", workers=2, storage__reserve=0) as server:
        stored, _ = split(samples)
        for sample in samples:
            status = c_store(server.dimse, sample)
            assert (status == 0) == (sample in stored), (sample.path.name, hex(status))
        for sample in stored:
            content = version_of(server, sample)
            meta = part10.read_meta(content)
            assert content[meta.data_set_offset :] == sample.data_set, sample.path.name
            assert meta.transfer_syntax == sample.meta.transfer_syntax


def test_wado_rs_gives_the_current_version_as_stored(server: Server, samples: list[Sample]) -> None:
    with WebClient(server.http) as client:
        for sample in split(samples)[0]:
            one = sample.attributes
            client.stow_streamed([sample.content], len(sample.content))
            path = f"/dicom-web/studies/{one.study_uid}/series/{one.series_uid}/instances/{one.instance_uid}"
            status, body = client.get(path)
            assert status == 200
            _, image = client.get(f"/image/{one.instance_uid}")
            assert image in body


def version_of(server: Server, sample: Sample) -> bytes:
    """The stored version of an instance that is this file: several files bear one SOP Instance UID."""
    uid = sample.attributes.instance_uid
    version = 1
    while True:
        status, content = get(server.http, f"/image/{uid}?version={version}")
        assert status == 200, (sample.path.name, version, status)
        if content.endswith(sample.data_set):
            return content
        version += 1


def c_store(port: int, sample: Sample) -> int:
    """Send a data set in its own transfer syntax; the status."""
    one = sample.attributes
    with Peer(port) as peer:
        contexts = ((1, one.sop_class_uid, (sample.meta.transfer_syntax,)),)
        peer.associate(dimse_peer.associate_rq(contexts=contexts))
        command = dimse_peer.store_command(one.instance_uid, one.sop_class_uid)
        peer.send(dimse_peer.message(1, command, sample.data_set))
        status = peer.response().status
        peer.release()
        return status
