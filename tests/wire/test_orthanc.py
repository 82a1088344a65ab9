"""Orthanc as a peer: it finds what we have, has it moved to itself, and is the destination of others' C-MOVE."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE

from tests.harness.dicom_file import DicomFile, ct
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.orthanc import AE_TITLE, Orthanc
from tests.harness.server import Server

FILES = [ct(number, study=7, size=20_000) for number in range(4)]


@dataclass
class Pair:
    """Ours and theirs, which know each other."""

    ours: Server
    orthanc: Orthanc

    def held(self) -> dict[str, bytes]:
        """Pixel data by SOP Instance UID that Orthanc has; it writes headers anew."""
        found: dict[str, bytes] = {}
        for one in self.orthanc.ask("GET", "/instances?expand"):
            uid = one["MainDicomTags"]["SOPInstanceUID"]
            found[uid] = self.orthanc.content(f"/instances/{one['ID']}/content/7fe0-0010/0")
        return found

    def empty(self) -> None:
        """Have Orthanc forget all."""
        for patient in self.orthanc.ask("GET", "/patients"):
            self.orthanc.ask("DELETE", f"/patients/{patient}")


def expected(files: list[DicomFile]) -> dict[str, bytes]:
    return {file.instance: file.pixels for file in files}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder: Path = tmp_path_factory.mktemp("orthanc")
    with Orthanc(folder / "theirs") as orthanc:
        node = {"name": "orthanc", "ae_title": AE_TITLE, "host": "127.0.0.1", "port": orthanc.dimse}
        with Server(folder / "ours", nodes=json.dumps([node])) as ours:
            orthanc.start(ours.dimse)
            with DimseClient(ours.dimse) as client:
                assert [client.store(file.instance, file.data_set) for file in FILES] == [SUCCESS] * len(FILES)
            yield Pair(ours, orthanc)


@pytest.fixture
def pair(running: Pair) -> Pair:
    running.empty()
    return running


def query(pair: Pair, level: str, **keys: str) -> str:
    """Have Orthanc ask us; the path of its answers."""
    asked = pair.orthanc.ask("POST", "/modalities/imagerepo/query", {"Level": level, "Query": keys})
    return asked["Path"]


def test_orthanc_echoes_us(pair: Pair) -> None:
    assert pair.orthanc.ask("POST", "/modalities/imagerepo/echo", {}) == {}


def test_orthanc_finds_a_study_by_part_of_the_patient_s_name(pair: Pair) -> None:
    path = query(pair, "Study", PatientName="*doe*", StudyDescription="", ModalitiesInStudy="")
    (answer,) = pair.orthanc.ask("GET", f"{path}/answers")
    found = pair.orthanc.ask("GET", f"{path}/answers/{answer}/content?simplify")
    assert found["StudyInstanceUID"] == FILES[0].study
    assert found["PatientName"] == "DOE^JANE"


def test_orthanc_finds_each_instance_of_a_series(pair: Pair) -> None:
    keys = {"StudyInstanceUID": FILES[0].study, "SeriesInstanceUID": FILES[0].series, "SOPInstanceUID": ""}
    path = query(pair, "Instance", **keys)
    assert len(pair.orthanc.ask("GET", f"{path}/answers")) == len(FILES)


def test_orthanc_has_a_study_moved_to_itself_and_holds_its_pixels(pair: Pair) -> None:
    path = query(pair, "Study", StudyInstanceUID=FILES[0].study)
    pair.orthanc.ask("POST", f"{path}/retrieve", {"TargetAet": AE_TITLE, "Synchronous": True})
    assert pair.held() == expected(FILES)


def test_orthanc_is_the_destination_of_another_s_c_move(pair: Pair) -> None:
    ae = AE("WORKSTATION")
    ae.add_requested_context("1.2.840.10008.5.1.4.1.2.2.2")
    association = ae.associate("127.0.0.1", pair.ours.dimse, ae_title="IMAGEREPO")
    asked = Dataset()
    asked.QueryRetrieveLevel = "SERIES"
    asked.StudyInstanceUID, asked.SeriesInstanceUID = FILES[0].study, FILES[0].series
    *_, (status, _) = association.send_c_move(asked, AE_TITLE, "1.2.840.10008.5.1.4.1.2.2.2")
    association.release()
    assert (status.Status, status.NumberOfCompletedSuboperations) == (0, len(FILES))
    assert pair.held() == expected(FILES)


def test_orthanc_sends_us_what_it_has(pair: Pair) -> None:
    file = ct(99, study=8, size=20_000)
    with DimseClient(pair.orthanc.dimse) as client:
        assert client.store(file.instance, file.data_set) == SUCCESS
    (held,) = pair.orthanc.ask("GET", "/instances")
    sent = pair.orthanc.ask("POST", "/modalities/imagerepo/store", {"Resources": [held], "Synchronous": True})
    assert sent["FailedInstancesCount"] == 0
    path = query(pair, "Study", StudyInstanceUID=file.study)
    assert len(pair.orthanc.ask("GET", f"{path}/answers")) == 1
