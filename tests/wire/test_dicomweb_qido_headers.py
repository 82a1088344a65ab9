"""QIDO-RS by what only stored headers know: optional keys, sequences, includefield."""

import io
from collections.abc import Iterator

import httpx
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom import Dataset

from imagerepo.settings import Settings
from imagerepo.settings_search import Searching
from tests.wire.dicomweb_samples import make, read
from tests.wire.dicomweb_serving import Served, serving, stow


def requested(study: str, procedures: dict[str, str], institution: str) -> bytes:
    """An instance of one series with these procedures and their scheduled steps."""
    one = read(make(study=study, series=f"{study}.1", instance=f"{study}.1.1"))
    items: list[Dataset] = []
    for procedure, step in procedures.items():
        item = Dataset()
        item.RequestedProcedureID, item.ScheduledProcedureStepID = procedure, step
        items.append(item)
    one.RequestAttributesSequence = items
    one.InstitutionName, one.PatientAge, one.PatientName = institution, "042Y", f"Müller-{study}^Anna"
    one.SpecificCharacterSet = "ISO_IR 100"
    out = io.BytesIO()
    one.save_as(out)
    return out.getvalue()


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Settings(search=Searching(optional_keys=("SliceThickness",), most_headers=4))) as one:
        with one.client() as client:
            stow(
                client,
                [
                    requested("1.1", {"R1": "S1", "R2": "S2"}, "St. Mary"),
                    requested("1.2", {"R2": "S1"}, "General"),
                    requested("1.3", {}, "General"),
                ],
            )
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as one:
        yield one


def found(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return sorted(one["0020000D"]["Value"][0] for one in response.json())


SEQUENCE = "RequestAttributesSequence"


@pytest.mark.parametrize(
    ("query", "studies"),
    [
        (f"series?{SEQUENCE}.RequestedProcedureID=R2", ["1.1", "1.2"]),
        (f"series?{SEQUENCE}.RequestedProcedureID=R2&{SEQUENCE}.ScheduledProcedureStepID=S1", ["1.2"]),
        ("series?00400275.00401001=R*&PatientName=*1.1*", ["1.1"]),
        (f"series?{SEQUENCE}.RequestedProcedureID=R9", []),
        ("studies?InstitutionName=Gen*", ["1.2", "1.3"]),
        ("studies?InstitutionName=general", []),
        ("studies?InstitutionName=Gen*&limit=1", ["1.3"]),
        ("studies?InstitutionName=Gen*&limit=1&offset=1", ["1.2"]),
        ("instances?SliceThickness=5.0", ["1.1", "1.2", "1.3"]),
        ("studies?PatientName=anna+m%C3%BCller&fuzzymatching=true", ["1.1", "1.2", "1.3"]),
        ("studies?PatientName=mueller&fuzzymatching=true", []),
    ],
)
def test_what_the_index_lacks_is_matched_in_headers(client: httpx.Client, query: str, studies: list[str]) -> None:
    assert found(client.get(f"/dicom-web/{query}")) == studies


def test_a_matched_sequence_is_answered_whole(client: httpx.Client) -> None:
    (one,) = client.get(f"/dicom-web/series?{SEQUENCE}.ScheduledProcedureStepID=S2").json()
    assert [item["00401001"]["Value"] for item in one["00400275"]["Value"]] == [["R1"], ["R2"]]


def test_all_fields_of_a_level_are_answered(client: httpx.Client) -> None:
    (study,) = client.get("/dicom-web/studies?StudyInstanceUID=1.1&includefield=all").json()
    assert study["00101010"]["Value"] == ["042Y"]
    assert study["00100010"]["Value"] == [{"Alphabetic": "Müller-1.1^Anna"}]
    assert "00080080" not in study
    (series,) = client.get("/dicom-web/studies/1.1/series?includefield=all").json()
    assert series["00080080"]["Value"] == ["St. Mary"]
    assert "00101010" not in series
    (instance,) = client.get("/dicom-web/studies/1.1/instances?includefield=all").json()
    metadata = client.get("/dicom-web/studies/1.1/series/1.1.1/instances/1.1.1.1/metadata").json()[0]
    for tag in ("00180050", "00200032", "00281053"):
        assert instance[tag] == metadata[tag]
    assert "7FE00010" not in instance


def test_a_field_by_name_is_answered(client: httpx.Client) -> None:
    (study,) = client.get("/dicom-web/studies?StudyInstanceUID=1.1&includefield=PatientAge").json()
    assert study["00101010"]["Value"] == ["042Y"]
    assert "00101030" not in study


def test_a_search_that_would_read_too_many_headers_says_so(client: httpx.Client) -> None:
    stow(client, [make(study=f"1.0.{one}", series=f"1.0.{one}.1", patient="OTHER") for one in range(2)])
    response = client.get("/dicom-web/studies?InstitutionName=Nowhere")
    assert response.status_code == 413
    assert "4 stored headers" in response.text
    narrower = client.get("/dicom-web/studies?InstitutionName=Nowhere&PatientName=m%C3%BCller*")
    assert found(narrower) == []


def test_a_key_that_is_not_optional_here_is_refused(client: httpx.Client) -> None:
    response = client.get("/dicom-web/instances?ConvolutionKernel=B30")
    assert response.status_code == 400
    assert "ConvolutionKernel" in response.text


def test_dicomweb_client_finds_by_sequence_and_all_fields(served: Served) -> None:
    client = DICOMwebClient(f"{served.url}/dicom-web")
    (series,) = client.search_for_series(
        search_filters={f"{SEQUENCE}.ScheduledProcedureStepID": "S2", "PatientName": "Müller*"}, fields=["all"]
    )
    assert Dataset.from_json(series).InstitutionName == "St. Mary"
