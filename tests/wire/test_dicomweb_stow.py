import json
import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from imagerepo.adapters.memory import MemoryCommits
from imagerepo.model.events import Action
from imagerepo.settings import Http, Institution, Settings, Storage, Token
from tests.wire.dicomweb_samples import make, path_of, read, sample, storable
from tests.wire.dicomweb_serving import Served, multipart, serving, stow

STUDIES = "/dicom-web/studies"
REFERENCED, FAILED, OTHER, REASON = "00081199", "00081198", "0008119A", "00081197"
RELATED = 'multipart/related; type="application/dicom"; boundary=b0undary'


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as one:
        yield one


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with served.client() as one:
        yield one


def request(length: int) -> bytes:
    """The head of a request that announces a body of so many bytes."""
    lines = (
        f"POST {STUDIES} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {RELATED}",
        f"Content-Length: {length}",
    )
    return "\r\n".join((*lines, "", "")).encode()


def items(response: httpx.Response, tag: str) -> list[dict]:
    return response.json().get(tag, {"Value": []})["Value"]


@pytest.mark.parametrize(("name", "content"), storable(), ids=lambda value: value if isinstance(value, str) else "")
def test_files_come_back_as_they_were_sent(client: httpx.Client, name: str, content: bytes) -> None:
    assert stow(client, [content]).status_code in {200, 409}
    uid = read(content).SOPInstanceUID
    # Several of pydicom's files share a UID: this one is one of its versions.
    versions = []
    while (answer := client.get(f"/image/{uid}", params={"version": len(versions) + 1})).status_code == 200:
        versions.append(answer.content)
    assert content in versions
    alone = client.get(path_of(content), headers={"Accept": "application/dicom; transfer-syntax=*"})
    assert alone.content == versions[-1]


def test_all_stored_is_200(client: httpx.Client) -> None:
    response = stow(client, [make(), make()])
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/dicom+json"
    assert len(items(response, REFERENCED)) == 2
    assert response.json()["00081190"]["Value"] == [f"{str(client.base_url).rstrip('/')}{STUDIES}/1.2.3"]


def test_a_single_instance_needs_no_parts(client: httpx.Client) -> None:
    content = make()
    response = client.post(STUDIES, content=content, headers={"Content-Type": "application/dicom"})
    assert response.status_code == 200
    assert client.get(path_of(content), headers={"Accept": "application/dicom"}).content == content


def test_some_stored_is_202_and_says_which_part_is_wrong(client: httpx.Client) -> None:
    response = stow(client, [make(), b"not DICOM", sample("CT_small.dcm")[:2000]])
    assert response.status_code == 202
    assert len(items(response, REFERENCED)) == 1
    failures = items(response, OTHER)
    assert [one[REASON]["Value"][0] for one in failures] == [0xC000, 0xC000]
    assert failures[0]["00000902"]["Value"][0].startswith("part 2: not a DICOM file")


def test_none_stored_is_409(client: httpx.Client) -> None:
    assert stow(client, [b"not DICOM"]).status_code == 409


def test_the_same_bytes_again_are_a_success(client: httpx.Client) -> None:
    content = make()
    assert stow(client, [content]).status_code == stow(client, [content]).status_code == 200


def test_a_study_takes_only_its_own_instances(client: httpx.Client) -> None:
    right, wrong = make(study="1.2.5", series="1.2.5.1"), make(study="1.2.6", series="1.2.6.1")
    response = stow(client, [right, wrong], f"{STUDIES}/1.2.5")
    assert response.status_code == 202
    assert [one[REASON]["Value"][0] for one in items(response, OTHER)] == [0xA900]


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 415),
        ('multipart/related; type="application/dicom+json"; boundary=b0undary', 415),
        ('multipart/related; type="application/dicom"', 400),
        ('multipart/related; type="application/dicom"; boundary=wrong', 400),
        ("nonsense", 400),
        ("multipart/form-data; boundary=b0undary", 415),
    ],
)
def test_other_bodies_are_refused(client: httpx.Client, content_type: str, status: int) -> None:
    response = client.post(STUDIES, content=multipart([make()]), headers={"Content-Type": content_type})
    assert response.status_code == status
    assert response.text


def test_parts_of_other_types_are_refused_one_by_one(client: httpx.Client) -> None:
    body = multipart([make()], part_type="application/dicom+xml")
    response = client.post(STUDIES, content=body, headers={"Content-Type": RELATED})
    assert response.status_code == 409
    assert len(items(response, OTHER)) == 1


def test_a_body_that_is_cut_off_keeps_what_was_complete(client: httpx.Client) -> None:
    whole, cut = make(), make()
    body = multipart([whole, cut])[:-1000]
    response = client.post(STUDIES, content=body, headers={"Content-Type": RELATED})
    assert response.status_code == 400
    assert "part 2: the body ends without the boundary" in response.text
    assert "1 are stored" in response.text
    assert client.get(path_of(whole)).status_code == 200
    assert client.get(path_of(cut)).status_code == 404


def test_refusals_are_in_the_journal(served: Served, client: httpx.Client) -> None:
    before = len(served.journal(Action.REFUSE))
    stow(client, [b"not DICOM"])
    assert len(served.journal(Action.REFUSE)) == before + 1


def test_different_bytes_are_a_version_or_a_refusal() -> None:
    first, second = make(instance="1.2.3.4.5"), make(instance="1.2.3.4.5")
    with serving() as one, one.client() as client:
        assert [stow(client, [content]).status_code for content in (first, second)] == [200, 200]
        assert client.get("/image/1.2.3.4.5").content == second
        assert client.get("/image/1.2.3.4.5?version=1").content == first
    refusing = Settings(institutions=(Institution(id="default", on_difference="refuse"),))
    with serving(refusing) as one, one.client() as client:
        assert stow(client, [first]).status_code == 200
        response = stow(client, [second])
        assert response.status_code == 409
        (failure,) = items(response, FAILED)
        assert failure["00081155"]["Value"] == ["1.2.3.4.5"]
        assert failure[REASON]["Value"] == [0x0111]


def test_a_hundred_thousand_parts_are_too_many() -> None:
    with serving(Settings(http=Http(max_parts=1000))) as one, one.client() as client:
        part = b"--b0undary\r\nContent-Type: application/dicom\r\n\r\nx\r\n"

        def body() -> Iterator[bytes]:
            for _ in range(100):
                yield part * 1000
            yield b"--b0undary--"

        response = client.post(STUDIES, content=body(), headers={"Content-Type": RELATED})
        assert response.status_code == 413
        assert "part 1001 exceeds" in response.text
        assert "http.max_parts" in response.text
        assert client.get("/healthz").status_code == 200


def test_a_sender_that_stalls_is_ended_with_408() -> None:
    with serving(Settings(http=Http(idle_timeout=0.3))) as one:
        with socket.create_connection(("127.0.0.1", one.port)) as slow:
            slow.settimeout(10)
            slow.sendall(request(1000) + b"--b0undary\r\n\r\nx")
            assert b" 408 " in slow.recv(4096).split(b"\r\n")[0]
            while slow.recv(4096):
                pass
        with one.client() as client:
            assert stow(client, [make()]).status_code == 200


def test_headers_that_do_not_end_close_the_connection() -> None:
    with (
        serving(Settings(http=Http(idle_timeout=0.3))) as one,
        socket.create_connection(("127.0.0.1", one.port)) as slow,
    ):
        slow.settimeout(10)
        slow.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert slow.recv(100) == b""


def test_a_sender_that_leaves_changes_nothing() -> None:
    content = make(size=512)
    with serving() as one, one.client() as client:
        with socket.create_connection(("127.0.0.1", one.port)) as leaving:
            leaving.sendall(request(9_999_999) + multipart([content])[:-2000])
        assert client.get("/healthz").status_code == 200
        assert client.get(path_of(content)).status_code == 404
        assert stow(client, [content]).status_code == 200


def test_an_instance_above_the_limit_is_refused_alone() -> None:
    settings = Settings(storage=Storage(instance_size_limit=1 << 20))
    large, small = make(size=1024), make()
    with serving(settings) as one, one.client() as client:
        response = stow(client, [large, small])
        assert response.status_code == 202
        assert client.get(path_of(small)).status_code == 200
        assert client.get(path_of(large)).status_code == 404


def test_an_instance_above_the_memory_threshold_goes_to_a_file_and_comes_back() -> None:
    settings = Settings(storage=Storage(file_threshold=64 << 10))
    content = make(size=512)
    with serving(settings) as one, one.client() as client:
        assert stow(client, [content, make()]).status_code == 200
        assert client.get(path_of(content), headers={"Accept": "application/dicom"}).content == content


class Full(MemoryCommits):
    """A store without room."""

    def accepts(self) -> bool:
        return False


def test_a_full_disk_is_507_and_reading_goes_on() -> None:
    with serving(commits=Full) as one, one.client() as client:
        assert stow(client, [make()]).status_code == 507
        assert client.get("/readyz/write").status_code == 503
        assert client.get("/readyz").status_code == 200
        assert client.get(STUDIES).status_code == 200


def test_many_batches_from_parallel_senders_are_all_stored() -> None:
    with serving() as one:
        contents = [[make() for _ in range(100)] for _ in range(3)]
        statuses: list[int] = []

        def send(mine: list[bytes]) -> None:
            with one.client() as client:
                statuses.append(stow(client, mine).status_code)

        threads = [threading.Thread(target=send, args=(mine,)) for mine in contents]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert statuses == [200] * 3
        assert len(one.memory.instances) == 300


def test_storing_needs_the_role() -> None:
    tokens = (
        Token(name="reader", sha256="d" * 64, roles=("read",)),
        Token(
            name="writer", sha256="5e884898da28047151d0e56f8dc6292773603d0d6aabbdd62a11ef721d1542d8", roles=("write",)
        ),
    )
    with serving(Settings(institutions=(Institution(id="a", tokens=tokens),))) as one, one.client() as client:
        assert stow(client, [make()]).status_code == 401
        client.headers["Authorization"] = "Bearer password"
        content = make()
        assert stow(client, [content]).status_code == 200
        assert client.get(path_of(content)).status_code == 403
        assert stow(client, [content], "/institutions/a/dicom-web/studies").status_code == 200
        assert stow(client, [content], "/institutions/b/dicom-web/studies").status_code in {403, 404}


def test_a_slow_sender_that_goes_on_is_waited_for() -> None:
    content = make()
    body = multipart([content])

    def slowly() -> Iterator[bytes]:
        for start in range(0, len(body), 4000):
            time.sleep(0.02)
            yield body[start : start + 4000]

    with serving(Settings(http=Http(idle_timeout=1.0))) as one, one.client() as client:
        response = client.post(STUDIES, content=slowly(), headers={"Content-Type": RELATED})
        assert response.status_code == 200
        assert json.loads(response.text)


@pytest.mark.parametrize(
    ("coding", "status"), [("gzip", 415), ("zstd", 415), ("identity, br", 415), ("Identity", 200)]
)
def test_a_body_that_is_compressed_is_not_taken_for_what_it_holds(coding: str, status: int) -> None:
    with serving() as one, one.client(headers={"Content-Encoding": coding}) as client:
        response = stow(client, [make(study="1.1", series="1.1.1")])
        assert response.status_code == status
        if status == 415:
            assert response.headers["accept-encoding"] == "identity"
            assert "Content-Encoding" in response.text
