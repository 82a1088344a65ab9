from collections.abc import Iterator

import httpx
import pytest

from imagerepo.model.events import Action
from imagerepo.settings import Http, Settings
from tests.wire.dicomweb_samples import make
from tests.wire.dicomweb_serving import Served, serving, stow

STUDIES = "/dicom-web/studies"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Settings(http=Http(max_search_results=50))) as one, one.client() as client:
        stow(
            client,
            [
                make(study="1.1", series="1.1.1", instance="1.1.1.1", patient="DOE^JOHN"),
                make(study="1.1", series="1.1.2", instance="1.1.2.1", patient="DOE^JOHN", modality="MR"),
                make(study="1.2", series="1.2.1", instance="1.2.1.1", patient="ROE^JANE"),
                make(study="1.3", series="1.3.1", instance="1.3.1.1", patient="DOE^ADA"),
            ],
        )
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as one:
        yield one


def found(response: httpx.Response, tag: str) -> list[str]:
    assert response.status_code == 200, response.text
    return sorted(one[tag]["Value"][0] for one in response.json())


@pytest.mark.parametrize(
    ("query", "studies"),
    [
        ("", ["1.1", "1.2", "1.3"]),
        ("PatientName=DOE^JOHN", ["1.1"]),
        ("PatientName=doe*", ["1.1", "1.3"]),
        ("00100010=*JANE", ["1.2"]),
        ("PatientName=%3FOE^JANE", ["1.2"]),
        ("StudyInstanceUID=1.1,1.3", ["1.1", "1.3"]),
        ("StudyInstanceUID=1.1%5C1.2", ["1.1", "1.2"]),
        ("StudyDate=20040101-20041231", ["1.1", "1.2", "1.3"]),
        ("StudyDate=20050101-", []),
        ("ModalitiesInStudy=MR", ["1.1"]),
        ("PatientName=*&PatientID=", ["1.1", "1.2", "1.3"]),
        ("PatientName=NOBODY", []),
        ("includefield=all&fuzzymatching=false&limit=10&offset=0", ["1.1", "1.2", "1.3"]),
    ],
)
def test_studies_are_found(client: httpx.Client, query: str, studies: list[str]) -> None:
    assert found(client.get(f"{STUDIES}?{query}"), "0020000D") == studies


@pytest.mark.parametrize(
    ("path", "tag", "uids"),
    [
        ("/dicom-web/series", "0020000E", ["1.1.1", "1.1.2", "1.2.1", "1.3.1"]),
        ("/dicom-web/series?Modality=MR", "0020000E", ["1.1.2"]),
        ("/dicom-web/instances", "00080018", ["1.1.1.1", "1.1.2.1", "1.2.1.1", "1.3.1.1"]),
        ("/dicom-web/instances?SOPInstanceUID=1.2.1.1", "00080018", ["1.2.1.1"]),
        (f"{STUDIES}/1.1/series", "0020000E", ["1.1.1", "1.1.2"]),
        (f"{STUDIES}/1.1/instances", "00080018", ["1.1.1.1", "1.1.2.1"]),
        (f"{STUDIES}/1.1/series/1.1.2/instances", "00080018", ["1.1.2.1"]),
        (f"{STUDIES}/9.9/series", "0020000E", []),
    ],
)
def test_series_and_instances_are_found(client: httpx.Client, path: str, tag: str, uids: list[str]) -> None:
    assert found(client.get(path), tag) == uids


def test_pages_hold_everything_once(client: httpx.Client) -> None:
    pages = [client.get(f"{STUDIES}?limit=2&offset={offset}") for offset in (0, 2, 4)]
    assert sorted(uid for page in pages for uid in found(page, "0020000D")) == ["1.1", "1.2", "1.3"]
    assert "additional results" in pages[0].headers["warning"]
    assert "warning" not in pages[1].headers
    assert pages[2].json() == []
    assert client.get(f"{STUDIES}?limit=0").json() == []


@pytest.mark.parametrize("name", ["emptyvaluematching", "multiplevaluematching"])
def test_matching_that_is_not_done_is_said_with_a_warning(client: httpx.Client, name: str) -> None:
    assert client.get(f"{STUDIES}?{name}=maybe").status_code == 400
    assert "warning" not in client.get(f"{STUDIES}?{name}=false").headers
    response = client.get(f"{STUDIES}?{name}=true&PatientName=DOE^JOHN")
    assert found(response, "0020000D") == ["1.1"]
    assert response.headers["warning"].startswith("299 ")
    assert name in response.headers["warning"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("Nonsense=1", "Nonsense"),
        ("StudyDate=yesterday", "StudyDate"),
        ("StudyInstanceUID=x", "StudyInstanceUID"),
        ("limit=-1", "limit"),
        ("SeriesInstanceUID=1.2", "SeriesInstanceUID"),
        ("PatientName=%FF", "UTF-8"),
        ("&".join(f"PatientName={i}" for i in range(300)), "parameters"),
    ],
)
def test_what_is_wrong_is_named(client: httpx.Client, query: str, named: str) -> None:
    response = client.get(f"{STUDIES}?{query}")
    assert response.status_code == 400
    assert named in response.text


def test_each_query_is_in_the_journal(served: Served, client: httpx.Client) -> None:
    client.get(f"{STUDIES}?PatientID=an-unusual-one")
    assert "an-unusual-one" in str(dict(served.journal(Action.QUERY)[-1].detail)["query"])


def test_xml_is_not_acceptable(client: httpx.Client) -> None:
    accept = 'multipart/related; type="application/dicom+xml"'
    assert client.get(STUDIES, headers={"Accept": accept}).status_code == 406
