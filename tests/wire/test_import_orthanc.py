"""`imagerepo import` into Orthanc's DICOMweb: a server of another maker, with answers of its own."""

import base64
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.dcmtk_peers import free_port
from tests.harness.dicom_file import ct
from tests.wire.importing import Run, imported, importer

__all__ = ["importer"]

_PLUGIN = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
_WITHIN = 60.0  # seconds
_WHO = "Basic " + base64.b64encode(b"anna:secret").decode()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    chosen = free_port()
    folder = tmp_path / "orthanc"
    folder.mkdir()
    configuration = {
        "StorageDirectory": str(folder),
        "IndexDirectory": str(folder),
        "HttpPort": chosen,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"anna": "secret"},
        "Plugins": [_PLUGIN],
        "DicomWeb": {"Enable": True},
    }
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["Orthanc", str(folder / "orthanc.json")], stdout=log, stderr=log)
    try:
        until = time.monotonic() + _WITHIN
        while not answers(chosen):
            assert time.monotonic() < until, (folder / "log").read_text()
            assert process.poll() is None, (folder / "log").read_text()
            time.sleep(0.1)
        yield chosen
    finally:
        process.terminate()
        process.wait(_WITHIN)


def answers(port: int) -> bool:
    try:
        return bool(ask(port, "/system"))
    except OSError:
        return False


def ask(port: int, path: str) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_WITHIN)
    connection.request("GET", path, headers={"Authorization": _WHO})
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    assert answer.status == 200, (path, answer.status)
    return content


def test_all_is_stored_what_is_damaged_told_and_a_second_run_sends_nothing(
    port: int, tmp_path: Path, importer: Run
) -> None:
    source, who = tmp_path / "in", tmp_path / "who"
    source.mkdir()
    for number in range(30):
        (source / f"{number:02}.dcm").write_bytes(ct(number).part10)
    (source / "damaged").write_bytes(ct(50).part10[:340])
    who.write_text(f"Authorization: {_WHO}\n")
    to = ("--to", f"http://127.0.0.1:{port}/dicom-web")
    assert "401" in importer(source, *to, status=1)
    said = imported(importer, source, *to, "--header-file", who, status=1)
    assert (said["stored"], said["refused"]) == (30, 1)
    assert [Path(one["place"]).name for one in said["refusals"]] == ["damaged"]
    found = json.loads(ask(port, "/instances"))
    assert len(found) == 30
    stored = {ask(port, f"/instances/{one}/file") for one in found}
    assert stored == {ct(number).part10 for number in range(30)}
    again = imported(importer, source, *to, "--header-file", who, status=1)
    assert (again["stored"], again["noted"], again["refused"]) == (0, 30, 1)
