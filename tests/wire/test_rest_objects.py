import io
import zipfile
from collections.abc import Iterator
from xml.etree.ElementTree import fromstring

import httpx
import pytest

from tests.wire.dicomweb_samples import make, read, sample
from tests.wire.dicomweb_serving import Served, serving, stow

CONTENTS = [make(study="1.1", series=f"1.1.{i % 2}", instance=f"1.1.{i % 2}.{i}") for i in range(4)]


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one, one.client() as client:
        assert stow(client, [*CONTENTS, sample("CT_small.dcm")]).status_code == 200
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as one:
        yield one


def test_an_image_is_the_file_as_uploaded(client: httpx.Client) -> None:
    response = client.get("/image/1.1.0.0")
    assert response.content == CONTENTS[0]
    assert response.headers["content-type"] == "application/dicom"
    assert client.get("/image/1.1.0.0?version=1").content == CONTENTS[0]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/image/1.1.0.0?version=2", 404),
        ("/image/1.1.0.0?version=0", 400),
        ("/image/1.1.0.0?version=x", 400),
        ("/image/9.9", 404),
        ("/image/x", 400),
        ("/series/9.9", 404),
        ("/study/9.9", 404),
    ],
)
def test_what_is_not_there_is_said(client: httpx.Client, path: str, status: int) -> None:
    assert client.get(path).status_code == status


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("bytes=0-9", slice(0, 10)), ("bytes=100-", slice(100, None)), ("bytes=-7", slice(-7, None))],
)
def test_a_range_is_partial_content(client: httpx.Client, asked: str, expected: slice) -> None:
    response = client.get("/image/1.1.0.0", headers={"Range": asked})
    assert (response.status_code, response.content) == (206, CONTENTS[0][expected])
    start = expected.indices(len(CONTENTS[0]))[0]
    last = start + len(response.content) - 1
    assert response.headers["content-range"] == f"bytes {start}-{last}/{len(CONTENTS[0])}"


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "lines=1-2", "bytes=5-1", "bytes=-", "nonsense"])
def test_other_ranges_are_answered_with_everything(client: httpx.Client, asked: str) -> None:
    response = client.get("/image/1.1.0.0", headers={"Range": asked})
    assert (response.status_code, response.content) == (200, CONTENTS[0])


def test_a_range_beyond_the_end_is_416(client: httpx.Client) -> None:
    response = client.get("/image/1.1.0.0", headers={"Range": "bytes=99999999-"})
    assert response.status_code == 416
    assert response.headers["content-range"] == f"bytes */{len(CONTENTS[0])}"


def test_a_range_of_something_that_changed_is_everything(client: httpx.Client) -> None:
    response = client.get("/image/1.1.0.0", headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (response.status_code, response.content) == (200, CONTENTS[0])


@pytest.mark.parametrize(("path", "members"), [("/series/1.1.1", [1, 3]), ("/study/1.1", [0, 1, 2, 3])])
def test_an_archive_holds_the_files_as_uploaded(client: httpx.Client, path: str, members: list[int]) -> None:
    response = client.get(path)
    assert response.headers["content-type"] == "application/zip"
    assert int(response.headers["content-length"]) == len(response.content)
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
    assert found == {f"IMG/1.1.{i % 2}/1.1.{i % 2}.{i}.dcm": CONTENTS[i] for i in members}


def test_methods_are_told(client: httpx.Client) -> None:
    for path in ("/image/1.1.0.0", "/dicom-web/studies", "/", "/healthz"):
        response = client.delete(path)
        assert response.status_code == 405
        assert "GET" in response.headers["allow"]
    options = client.options("/dicom-web/studies")
    assert (options.status_code, options.headers["allow"]) == (200, "GET, HEAD, OPTIONS, POST")


def test_the_sample_is_readable(client: httpx.Client) -> None:
    content = sample("CT_small.dcm")
    assert read(client.get(f"/image/{read(content).SOPInstanceUID}").content) == read(content)


def test_a_header_is_xml_of_the_native_dicom_model(client: httpx.Client) -> None:
    uid = str(read(sample("CT_small.dcm")).SOPInstanceUID)
    response = client.get(f"/image/{uid}/header")
    assert response.headers["content-type"] == "application/xml; charset=utf-8"
    found = {one.get("keyword"): one for one in fromstring(response.content)}
    assert found["PatientID"][0].text == "1CT1"
    assert [one.text for one in found["PatientName"].iter() if (one.text or "").strip()] == [
        "CompressedSamples",
        "CT1",
    ]
    pixels = found["PixelData"][0].get("uri")
    assert pixels is not None
    assert client.get(pixels).status_code == 200


@pytest.mark.parametrize("accept", ["text/xml", "application/dicom+xml"])
def test_a_header_is_called_what_its_reader_accepts(client: httpx.Client, accept: str) -> None:
    response = client.get("/image/1.1.0.0/header", headers={"Accept": accept})
    assert response.headers["content-type"] == f"{accept}; charset=utf-8"
    again = client.get("/image/1.1.0.0/header", headers={"Accept": accept, "If-None-Match": response.headers["etag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    ("path", "accept", "status"),
    [
        ("/image/1.1.0.0/header", "application/json", 406),
        ("/image/1.1.0.0/header?version=2", "*/*", 404),
        ("/image/9.9/header", "*/*", 404),
        ("/image/x/header", "*/*", 400),
    ],
)
def test_a_header_that_cannot_be_had_is_refused(client: httpx.Client, path: str, accept: str, status: int) -> None:
    assert client.get(path, headers={"Accept": accept}).status_code == status
