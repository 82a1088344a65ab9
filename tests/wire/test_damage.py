"""Stored bytes that are gone: said before the answer begins if that can be, else the answer never looks whole."""

import logging
import socket

import httpx
import pytest

from imagerepo.adapters.memory import MemoryObjects
from imagerepo.model.instance import Range
from imagerepo.web import contents
from tests.wire.dicomweb_samples import make, path_of
from tests.wire.dicomweb_serving import Served, serving, stow

FIRST = make(study="1.1", series="1.1.1", instance="1.1.1.1", size=256)
SECOND = make(study="1.1", series="1.1.1", instance="1.1.1.2", size=256)


def lose(served: Served, instance: str) -> None:
    """Have an instance's bytes gone."""
    version, _ = served.memory.instances["default", instance].current
    del served.memory.objects[version.copy.ranges[0].key]


INSTANCE = path_of(FIRST)
PATHS = [
    "/image/1.1.1.1",
    "/series/1.1.1",
    "/study/1.1",
    INSTANCE,
    f"{INSTANCE}/frames/1",
    f"{INSTANCE}/bulkdata/7FE00010",
    f"{INSTANCE}/metadata",
    "/dicom-web/studies/1.1",
    "/dicom-web/studies/1.1/series/1.1.1",
    "/dicom-web/studies/1.1/metadata",
]


@pytest.mark.parametrize("path", PATHS)
def test_bytes_that_are_gone_are_an_error_and_no_beginning_of_an_answer(path: str) -> None:
    with serving() as one, one.client() as client:
        assert stow(client, [FIRST]).status_code == 200
        lose(one, "1.1.1.1")
        response = client.get(path)
        assert response.status_code == 500
        assert response.headers["content-type"].startswith("text/plain")
        assert "imagerepo audit verify" in response.text
        assert "backup" in response.text
        assert client.get("/healthz").status_code == 200


def test_a_range_that_is_gone_is_an_error() -> None:
    with serving() as one, one.client() as client:
        stow(client, [FIRST])
        lose(one, "1.1.1.1")
        assert client.get("/image/1.1.1.1", headers={"Range": "bytes=10-20"}).status_code == 500


@pytest.mark.parametrize("path", ["/series/1.1.1", "/study/1.1", "/dicom-web/studies/1.1"])
@pytest.mark.parametrize("known_length", [True, False])
def test_an_answer_of_several_that_breaks_off_never_looks_whole(
    path: str, monkeypatch: pytest.MonkeyPatch, *, known_length: bool
) -> None:
    if not known_length:
        monkeypatch.setattr(contents, "LIMIT", 1)
    with serving() as one, one.client() as client:
        assert stow(client, [FIRST, SECOND]).status_code == 200
        whole = client.get(path)
        assert ("content-length" in whole.headers) is known_length
        lose(one, "1.1.1.2")
        with client.stream("GET", path) as response:
            assert response.status_code == 200
            with pytest.raises(httpx.RemoteProtocolError):
                response.read()
        # HTTP/1.0 knows no chunks: what came must not end as the whole does.
        with socket.create_connection(("127.0.0.1", one.port)) as connection:
            connection.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
            answer = b""
            while piece := connection.recv(65536):
                answer += piece
        assert not answer.endswith(whole.content[-20:])


def test_an_answer_that_breaks_off_is_a_line_of_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as one, one.client() as client:
        assert stow(client, [FIRST, SECOND]).status_code == 200
        lose(one, "1.1.1.2")
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/study/1.1")
        assert client.get("/healthz").status_code == 200
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [record.getMessage() for record in said] == ["http.cut"]
    assert said[0].__dict__["path"] == "/study/1.1"
    assert "ends before" in said[0].__dict__["reason"]
    assert said[0].exc_info is None


def test_a_disk_that_fails_is_said_without_naming_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: MemoryObjects, where: Range, room: memoryview) -> bool:
        raise OSError(5, "Input/output error", f"/srv/{where.key}")

    monkeypatch.setattr(MemoryObjects, "read_at_hand", fail)
    with serving() as one, one.client() as client:
        stow(client, [FIRST])
        response = client.get("/image/1.1.1.1")
        assert response.status_code == 500
        assert "/srv" not in response.text
        assert "Input/output error" in response.text
