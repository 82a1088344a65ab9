import gzip
import json
import socket
from collections.abc import Iterator
from email.parser import BytesParser

import httpx
import pytest
import zstandard
from pydicom.encaps import generate_frames

from imagerepo.model.events import Action
from imagerepo.web import contents
from tests.wire.dicomweb_samples import make, path_of, read, sample, storable
from tests.wire.dicomweb_serving import Served, serving, stow

CT, MULTI, JPEG_2000, JPEG_LOSSY = "CT_small.dcm", "emri_small.dcm", "JPEG2000.dcm", "SC_rgb_jpeg_dcmtk.dcm"
RLE_MULTI = "emri_small_RLE.dcm"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one, one.client() as client:
        stow(client, [sample(name) for name in (CT, MULTI, JPEG_2000, JPEG_LOSSY)])
        stow(client, [make(study="1.9", series=f"1.9.{i % 2}", instance=f"1.9.{i % 2}.{i}") for i in range(6)])
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as one:
        yield one


def parts(response: httpx.Response) -> list[tuple[str, bytes]]:
    """(Content-Type, content) of each part, by Python's own parser."""
    assert int(response.headers.get("content-length", len(response.content))) == len(response.content)
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + response.content)
    assert message.get_content_type() == "multipart/related"
    boundary = message.get_boundary()
    assert boundary is not None
    sections = response.content.split(f"--{boundary}".encode())
    assert sections[0] == b""
    assert sections[-1] == b"--\r\n"
    found = []
    for section in sections[1:-1]:
        header, _, content = section.partition(b"\r\n\r\n")
        found.append((header.decode().strip().removeprefix("Content-Type: "), content[:-2]))
    return found


def test_without_accept_an_instance_comes_as_stored_in_parts(client: httpx.Client) -> None:
    content = sample(CT)
    response = client.get(path_of(content), headers={"Accept": ""})
    assert response.status_code == 200
    assert parts(response) == [("application/dicom; transfer-syntax=1.2.840.10008.1.2.1", content)]


def test_an_instance_comes_alone_if_that_is_asked(client: httpx.Client) -> None:
    content = sample(CT)
    assert client.get(path_of(content), headers={"Accept": "application/dicom"}).content == content
    assert client.get(path_of(content), params={"accept": "application/dicom"}).content == content


def test_another_syntax_is_not_acceptable(client: httpx.Client) -> None:
    accept = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.50'
    for path in (path_of(sample(CT)), path_of(sample(CT)).partition("/series")[0]):
        response = client.get(path, headers={"Accept": accept})
        assert response.status_code == 406
        assert "1.2.840.10008.1.2.1" in response.text


def test_a_study_and_its_series_hold_all_their_instances(client: httpx.Client) -> None:
    study = parts(client.get("/dicom-web/studies/1.9"))
    assert {read(content).SOPInstanceUID for _, content in study} == {f"1.9.{i % 2}.{i}" for i in range(6)}
    series = parts(client.get("/dicom-web/studies/1.9/series/1.9.1"))
    assert {read(content).SOPInstanceUID for _, content in series} == {"1.9.1.1", "1.9.1.3", "1.9.1.5"}


def test_a_head_request_tells_the_length(client: httpx.Client) -> None:
    for path in (path_of(sample(CT)), "/dicom-web/studies/1.9", "/dicom-web/studies/1.9/metadata", "/study/1.9"):
        head, whole = client.head(path), client.get(path)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["content-length"] == whole.headers["content-length"]


@pytest.mark.parametrize(
    "path",
    [
        "/dicom-web/studies/1.9",
        "/dicom-web/studies/1.9/metadata",
        "/dicom-web/studies/1.9/series/1.9.1",
        "/dicom-web/studies/1.9/series/1.9.1/instances/1.9.1.1",
        "/dicom-web/studies/1.9/series/1.9.1/instances/1.9.1.1/metadata",
        "/dicom-web/studies/1.9/series/1.9.1/instances/1.9.1.1/frames/1",
        "/image/1.9.1.1",
        "/series/1.9.1",
    ],
)
def test_what_the_caller_has_is_not_sent_again(client: httpx.Client, path: str) -> None:
    first, second = client.get(path), client.get(path)
    assert first.status_code == 200
    assert first.content == second.content
    again = client.get(path, headers={"If-None-Match": f'"other", W/{first.headers["etag"]}'})
    assert (again.status_code, again.content) == (304, b"")
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/dicom-web/studies/1.9.9", 404),
        ("/dicom-web/studies/1.9.9/metadata", 404),
        ("/dicom-web/studies/1.9/series/7", 404),
        ("/dicom-web/studies/1.9/series/1.9.0/instances/1.9.1.1", 404),
        ("/dicom-web/studies/7/series/1.9.1/instances/1.9.1.1", 404),
        ("/dicom-web/studies/nonsense", 400),
        (f"/dicom-web/studies/{'1' * 65}", 400),
        ("/dicom-web/studies/1.9/series/1.9.1/instances/1.9.1.1/frames/2", 404),
        ("/dicom-web/studies/1.9/series/1.9.1/instances/1.9.1.1/frames/x", 400),
        ("/dicom-web/studies/1.9/series/1.9.1/instances/1.9.1.1/bulkdata/x", 400),
        ("/dicom-web/studies/1.9/series/1.9.1/instances/1.9.1.1/bulkdata/00420011", 404),
        ("/dicom-web/nothing", 404),
    ],
)
def test_what_is_not_there_is_said(client: httpx.Client, path: str, status: int) -> None:
    response = client.get(path)
    assert response.status_code == status
    assert response.text.strip()


def test_native_frames_are_their_bytes(client: httpx.Client) -> None:
    content = sample(MULTI)
    pixels, number = read(content).PixelData, int(read(content).NumberOfFrames)
    size = len(pixels) // number
    found = parts(client.get(f"{path_of(content)}/frames/2,1,{number}"))
    expected = [pixels[(n - 1) * size : n * size] for n in (2, 1, number)]
    assert [frame for _, frame in found] == expected
    assert found[0][0].startswith("application/octet-stream; transfer-syntax=")
    every = ",".join(str(n + 1) for n in range(number)) + ",1" * 20
    assert b"".join(frame for _, frame in parts(client.get(f"{path_of(content)}/frames/{every}")))[: len(pixels)] == (
        pixels
    )


@pytest.mark.parametrize(("name", "media_type"), [(JPEG_2000, "image/jp2"), (JPEG_LOSSY, "image/jpeg")])
def test_compressed_frames_have_the_type_of_their_syntax(client: httpx.Client, name: str, media_type: str) -> None:
    content = sample(name)
    expected = list(generate_frames(read(content).PixelData, number_of_frames=1))
    found = parts(client.get(f"{path_of(content)}/frames/1"))
    assert [frame for _, frame in found] == expected
    assert found[0][0] == f"{media_type}; transfer-syntax={read(content).file_meta.TransferSyntaxUID}"
    alone = client.get(f"{path_of(content)}/frames/1", headers={"Accept": media_type})
    assert (alone.content, alone.headers["content-type"].split(";")[0]) == (expected[0], media_type)
    octets = client.get(
        f"{path_of(content)}/frames/1",
        headers={"Accept": "multipart/related; type=application/octet-stream; transfer-syntax=*"},
    )
    assert parts(octets)[0][1] == expected[0]
    refused = client.get(f"{path_of(content)}/frames/1", headers={"Accept": "image/png"})
    assert refused.status_code == 406


def test_many_compressed_frames_are_told_apart() -> None:
    with serving() as one, one.client() as client:
        content = sample(RLE_MULTI)
        assert stow(client, [content]).status_code == 200
        number = int(read(content).NumberOfFrames)
        expected = list(generate_frames(read(content).PixelData, number_of_frames=number))
        numbers = list(range(1, number + 1)) * 3
        found = parts(client.get(f"{path_of(content)}/frames/{','.join(map(str, numbers))}"))
        assert [frame for _, frame in found] == expected * 3
        assert [frame for _, frame in parts(client.get(f"{path_of(content)}/bulkdata/7FE00010"))] == expected
        assert client.get(f"{path_of(content)}/frames/{number + 1}").status_code == 404


def test_bulk_data_are_where_metadata_say(client: httpx.Client) -> None:
    content = sample(CT)
    (metadata,) = client.get(f"{path_of(content)}/metadata").json()
    url = metadata["7FE00010"]["BulkDataURI"]
    assert parts(client.get(url))[0][1] == read(content).PixelData
    alone = client.get(url, headers={"Accept": "application/octet-stream"})
    assert alone.content == read(content).PixelData
    other = client.get(f"{path_of(content)}/bulkdata/00080018", headers={"Accept": "application/octet-stream"})
    assert other.content.rstrip(b"\0").decode() == read(content).SOPInstanceUID


def references(element: object) -> Iterator[str]:
    """Every BulkDataURI of a data set in JSON."""
    if isinstance(element, dict):
        if "BulkDataURI" in element:
            yield element["BulkDataURI"]
        for inner in element.values():
            yield from references(inner)
    elif isinstance(element, list):
        for inner in element:
            yield from references(inner)


def test_everything_that_metadata_leave_out_can_be_fetched() -> None:
    with serving() as one, one.client() as client:
        stow(client, [content for _, content in storable()])
        instances = client.get("/dicom-web/instances").json()
        nested = 0
        for instance in instances:
            if instance["00083002"]["Value"] == ["1.2.840.10008.1.2.1.99"]:
                continue  # deflated pixel data have no addressable bytes
            metadata = client.get(f"{instance['00081190']['Value'][0]}/metadata")
            for url in references(metadata.json()):
                response = client.get(url)
                assert response.status_code == 200, (url, response.text)
                assert all(content for _, content in parts(response))
                nested += url.rpartition("/bulkdata/")[2].count("/") > 0
        assert nested


def test_metadata_are_the_headers_of_all_instances(client: httpx.Client) -> None:
    study = client.get("/dicom-web/studies/1.9/metadata").json()
    assert {one["00080018"]["Value"][0] for one in study} == {f"1.9.{i % 2}.{i}" for i in range(6)}
    (one,) = client.get("/dicom-web/studies/1.9/series/1.9.1/instances/1.9.1.1/metadata").json()
    assert one["00100010"]["Value"] == [{"Alphabetic": "DOE^JOHN"}]
    assert (
        client.get("/dicom-web/studies/1.9/metadata", headers={"Accept": "application/dicom+xml"}).status_code == 406
    )


@pytest.mark.parametrize("path", ["/dicom-web/studies/1.9/metadata", "/dicom-web/instances"])
def test_json_is_compressed_as_the_caller_prefers(served: Served, path: str) -> None:
    def raw(coding: str) -> tuple[str, bytes]:
        with served.client() as client, client.stream("GET", path, headers={"Accept-Encoding": coding}) as response:
            return response.headers.get("content-encoding", ""), b"".join(response.iter_raw())

    coding, plain = raw("identity")
    assert (coding, isinstance(json.loads(plain), list)) == ("", True)
    coding, zipped = raw("gzip;q=1.0, zstd;q=0.5")
    assert (coding, gzip.decompress(zipped)) == ("gzip", plain)
    coding, zipped = raw("zstd, gzip")
    assert (coding, zstandard.ZstdDecompressor().decompressobj().decompress(zipped)) == ("zstd", plain)


def test_large_studies_are_sent_page_by_page(monkeypatch: pytest.MonkeyPatch) -> None:
    # Pages of 500: three of them. The lower limit makes the second round one whose length is not told.
    with serving() as one, one.client() as client:
        template = make(study="1.8", series="1.8.1", instance="1.8.1.1000", size=2)
        contents_sent = [template.replace(b"1.8.1.1000", b"1.8.1.%d" % (1000 + i)) for i in range(1200)]
        assert stow(client, contents_sent).status_code == 200
        for limit in (contents.LIMIT, 600):
            monkeypatch.setattr(contents, "LIMIT", limit)
            response = client.get("/dicom-web/studies/1.8")
            assert [content for _, content in parts(response)] == contents_sent
            assert ("content-length" in response.headers) == (limit > 1200)
            metadata = client.get("/dicom-web/studies/1.8/metadata")
            assert len(metadata.json()) == 1200
            assert ("etag" in metadata.headers) == (limit > 1200)


def test_reads_are_in_the_journal_once_an_interval() -> None:
    with serving() as one, one.client() as client:
        stow(client, [make(study="1.7", series="1.7.1", instance="1.7.1.1")])
        for path in ("/dicom-web/studies/1.7", "/image/1.7.1.1", "/dicom-web/studies/1.7/metadata", "/series/1.7.1"):
            assert client.get(path).status_code == 200
        (entry,) = one.journal(Action.READ)
        assert dict(entry.detail)["study"] == "1.7"


def test_a_reader_that_leaves_is_noticed_and_the_next_one_served() -> None:
    content = make(size=2048)
    with serving() as one, one.client() as client:
        stow(client, [content])
        with socket.create_connection(("127.0.0.1", one.port)) as leaving:
            leaving.sendall(f"GET {path_of(content)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert leaving.recv(100)
        assert parts(client.get(path_of(content)))[0][1] == content


def test_pixel_data_of_a_deflated_instance_are_refused_with_what_to_do_instead() -> None:
    content = sample("image_dfl.dcm")
    with serving() as one, one.client() as client:
        assert stow(client, [content]).status_code == 200
        path = path_of(content)
        for what in ("frames/1", "frames/1,2", "bulkdata/7FE00010"):
            response = client.get(f"{path}/{what}")
            assert response.status_code == 406
            assert "deflated" in response.text
            assert "retrieve the instance" in response.text
        assert client.get(f"{path}/bulkdata/00100010").status_code == 200
        assert client.get(path).status_code == 200
