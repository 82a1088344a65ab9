"""Clients that others wrote."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient

from tests.wire.dicomweb_samples import make, path_of, read, sample
from tests.wire.dicomweb_serving import Served, serving


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


def test_dicomweb_client_stores_searches_and_retrieves(served: Served) -> None:
    client = DICOMwebClient(f"{served.url}/dicom-web")
    contents = [sample("CT_small.dcm"), make(study="1.5", series="1.5.1", instance="1.5.1.1")]
    answer = client.store_instances([read(content) for content in contents])
    assert len(answer.ReferencedSOPSequence) == 2
    ct = read(contents[0])
    uids = (ct.StudyInstanceUID, ct.SeriesInstanceUID, ct.SOPInstanceUID)

    (study,) = client.search_for_studies(search_filters={"PatientID": ct.PatientID, "StudyInstanceUID": uids[0]})
    assert pydicom.Dataset.from_json(study).StudyInstanceUID == uids[0]
    assert len(client.search_for_series(uids[0])) == 1
    assert len(client.search_for_instances(uids[0], uids[1], limit=1)) == 1

    assert client.retrieve_instance(*uids).PixelData == ct.PixelData
    assert [one.SOPInstanceUID for one in client.retrieve_study("1.5")] == ["1.5.1.1"]
    assert [one.SOPInstanceUID for one in client.retrieve_series(*uids[:2])] == [uids[2]]
    assert client.retrieve_instance_frames(*uids, frame_numbers=[1]) == [ct.PixelData]
    metadata = pydicom.Dataset.from_json(
        client.retrieve_instance_metadata(*uids),
        bulk_data_uri_handler=lambda _tag, _vr, url: bytes(client.retrieve_bulkdata(url)[0]),
    )
    assert metadata.PatientName == ct.PatientName
    assert metadata.PixelData == ct.PixelData
    assert metadata[0x00431029].value == ct[0x00431029].value
    assert len(client.retrieve_study_metadata(uids[0])) == 1
    assert len(client.retrieve_series_metadata(*uids[:2])) == 1


def test_curl_sends_and_fetches(served: Served, tmp_path: Path) -> None:
    curl = shutil.which("curl")
    assert curl is not None, "the tests need curl"
    content = sample("CT_small.dcm")
    sent, back = tmp_path / "in.dcm", tmp_path / "out.dcm"
    sent.write_bytes(content)
    stored = subprocess.run(
        [
            *(curl, "-sS", "-o", "-", "-w", "%{http_code}", "-H", "Expect: 100-continue"),
            *("-H", "Content-Type: application/dicom", "--data-binary", f"@{sent}", f"{served.url}/dicom-web/studies"),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert stored.stdout.endswith("200")
    url = f"{served.url}{path_of(content)}"
    subprocess.run([curl, "-sSf", "-H", "Accept: application/dicom", "-o", back, url], check=True)
    assert back.read_bytes() == content
