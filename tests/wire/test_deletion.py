"""DELETE and holds over HTTP on a running server, by DICOMweb's own client and by plain requests."""

import hashlib
import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dicomweb_client import DICOMwebClient

from imagerepo.adapters.segments import verify
from tests.harness.dicom_file import DicomFile, ct, uid
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.owners import Owners, assert_held
from tests.harness.server import COMMAND, Server
from tests.harness.stored import walk
from tests.harness.web_client import WebClient, get

LARGE = 9 << 20  # bytes: a file of its own
STUDY = f"/dicom-web/studies/{uid(1)}"


def ask(server: Server, method: str, path: str, token: str | None = None) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.http, timeout=60)
    connection.request(method, path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def send(server: Server, *files: DicomFile) -> None:
    with WebClient(server.http) as client:
        assert client.stow(*files).stored == {file.instance for file in files}


def journal(data: Path) -> list[dict[str, object]]:
    done = subprocess.run([COMMAND, "audit", "export", "--data", data], capture_output=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def eventually(claim) -> None:
    until = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """For tests that delete studies of their own."""
    folder = tmp_path_factory.mktemp("shared") / "data"
    with Server(folder, workers=2, storage__reserve=0, deletion__reclaim_delay=0) as server:
        yield server
        assert server.stop() == 0


def deleted(server: Server) -> int:
    lines = get(server.http, "/metrics")[1].decode().splitlines()
    name = 'imagerepo_deleted_instances_total{institution="default"}'
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(name))


@pytest.mark.parametrize(
    ("study", "below", "left"),
    [
        (11, "", set()),
        (12, f"/series/{uid(12, 1)}", {3}),
        (13, f"/series/{uid(13, 1)}/instances/{uid(13, 1, 1)}", {2, 3}),
    ],
    ids=["study", "series", "instance"],
)
def test_what_a_url_names_is_gone_when_it_is_answered_and_the_rest_is_not(
    shared: Server, study: int, below: str, left: set[int]
) -> None:
    files = {number: ct(number, study=study, series=1 + number // 3) for number in (1, 2, 3)}
    other = ct(9, study=10 + study)
    path = f"/dicom-web/studies/{uid(study)}{below}"
    before = deleted(shared)
    send(shared, *files.values(), ct(1, study=study, variant=1), other)
    assert ask(shared, "DELETE", f"{path}?reason=consent%20withdrawn") == (204, "")
    for number, file in files.items():
        status, body = get(shared.http, f"/image/{file.instance}")
        assert status == (200 if number in left else 404), number
        if number > 1 and number in left:
            assert body == file.part10
    assert get(shared.http, f"/image/{other.instance}")[0] == 200
    found = json.loads(get(shared.http, f"/dicom-web/instances?StudyInstanceUID={uid(study)}")[1] or "[]")
    assert len(found) == len(left)
    assert deleted(shared) - before == 3 - len(left)
    assert ask(shared, "DELETE", path)[0] == 404
    entries = [one for one in journal(shared.data) if one["action"] == "delete"]
    (entry,) = [one for one in entries if one["study"] == uid(study)]
    assert (entry["reason"], entry["caller"]) == ("consent withdrawn", "anonymous")
    assert entry["instances"] == 3 - len(left)


def test_dicomweb_s_own_client_deletes(shared: Server) -> None:
    send(shared, ct(1, study=31), ct(2, study=31), ct(3, study=31, series=2), ct(4, study=32))
    client = DICOMwebClient(f"{shared.url}/dicom-web")
    client.delete_instance(uid(31), uid(31, 1), uid(31, 1, 1))
    assert len(client.search_for_instances(uid(31))) == 2
    client.delete_series(uid(31), uid(31, 1), additional_params={"reason": "wrong patient"})
    assert len(client.search_for_instances(uid(31))) == 1
    client.delete_study(uid(31))
    found = {one["0020000D"]["Value"][0] for one in client.search_for_studies()}
    assert found & {uid(31), uid(32)} == {uid(32)}


def test_what_was_deleted_is_stored_anew_when_it_is_sent_again(shared: Server) -> None:
    file = ct(1, study=41)
    for number in (1, 2, 3):
        with DimseClient(shared.dimse) as client:
            assert client.store(file.instance, file.data_set) == SUCCESS
        assert get(shared.http, f"/image/{file.instance}?version={number}")[0] == 200
        assert ask(shared, "DELETE", f"/dicom-web/studies/{uid(41)}")[0] == 204
    send(shared, file)
    assert get(shared.http, f"/image/{file.instance}")[1] == file.part10
    assert get(shared.http, f"/image/{file.instance}?version=1")[0] == 404


def test_a_page_of_another_site_deletes_nothing(shared: Server) -> None:
    send(shared, ct(1, study=51))
    connection = http.client.HTTPConnection("127.0.0.1", shared.http, timeout=60)
    connection.request("DELETE", f"/dicom-web/studies/{uid(51)}", headers={"Origin": "https://example.org"})
    assert connection.getresponse().status == 403
    connection.close()
    assert get(shared.http, f"/image/{ct(1, study=51).instance}")[0] == 200


def test_bytes_are_given_back_and_all_else_stays(tmp_path: Path) -> None:
    data = tmp_path / "data"
    files = [ct(number, study=1, size=300_000) for number in range(20)]
    kept = [ct(number, study=2, size=300_000) for number in range(20)]
    large = ct(99, study=1, size=LARGE)

    def used() -> int:
        return sum(path.stat().st_blocks for path in data.rglob("*") if path.suffix in {".seg", ".dcm"}) * 512

    with Server(data, workers=1, storage__reserve=0, deletion__reclaim_delay=0) as server:
        for one, other in zip(files, kept, strict=True):
            send(server, one, other)
        send(server, large)
        assert get(server.http, f"{STUDY}/metadata")[0] == 200
        before = used()
        assert ask(server, "DELETE", STUDY)[0] == 204
        eventually(lambda: used() < before - 20 * 300_000 - LARGE + 25 * 8192)
        assert not list((data / "files").rglob("*.dcm"))
        for file in kept:
            assert get(server.http, f"/image/{file.instance}")[1] == file.part10
        assert server.stop() == 0
    walk(data)
    for path in (data / "segments").iterdir():
        content = path.read_bytes()
        assert not any(file.data_set[-2000:] in content for file in files if file.data_set not in kept)
    subprocess.run([COMMAND, "audit", "verify", "--bytes", "--data", data], check=True, capture_output=True)
    done = subprocess.run([COMMAND, "index", "rebuild", "--data", data], check=True, capture_output=True, text=True)
    assert "20 versions" in done.stdout
    walk(data)


def test_a_legal_hold_refuses_with_409_until_it_is_lifted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    hold = f"/study/{uid(1)}/hold"
    with Server(data, workers=2, storage__reserve=0) as server:
        send(server, ct(1), ct(2))
        assert ask(server, "PUT", hold)[0] == 400
        assert ask(server, "PUT", f"/study/{uid(7)}/hold?reason=x")[0] == 404
        assert ask(server, "PUT", f"{hold}?reason=Smith%20v.%20Jones") == (204, "")
        shown = json.loads(ask(server, "GET", hold)[1])
        assert (shown["study"], shown["reason"], shown["caller"]) == (uid(1), "Smith v. Jones", "anonymous")
        for path in (STUDY, f"{STUDY}/series/{uid(1, 1)}", f"{STUDY}/series/{uid(1, 1)}/instances/{uid(1, 1, 1)}"):
            status, said = ask(server, "DELETE", path)
            assert status == 409
            assert "Smith v. Jones" in said
        assert server.stop() == 0
    subprocess.run([COMMAND, "index", "rebuild", "--data", data], check=True, capture_output=True)
    with Server(data, workers=2, storage__reserve=0) as server:
        assert [one["study"] for one in json.loads(ask(server, "GET", "/holds")[1])] == [uid(1)]
        assert json.loads(ask(server, "GET", f"/holds?after={uid(1)}&limit=1")[1]) == []
        for limit in ("0", "1001", "000000001000000000", "x"):
            status, said = ask(server, "GET", f"/holds?limit={limit}")
            assert (status, said.strip()) == (400, f"limit {limit!r} is not a number from 1 to 1000")
        assert ask(server, "DELETE", STUDY)[0] == 409
        assert ask(server, "DELETE", f"{hold}?reason=settled")[0] == 204
        assert ask(server, "GET", hold)[0] == 404
        assert ask(server, "DELETE", f"{hold}?reason=settled")[0] == 404
        assert ask(server, "DELETE", STUDY)[0] == 204
        assert server.stop() == 0
    done = [entry["action"] for entry in journal(data) if entry["action"] not in {"store", "read", "read-count"}]
    assert done == ["hold", "refuse", "refuse", "refuse", "refuse", "release", "delete"]


def test_only_the_roles_delete_and_admin_delete_and_only_admin_holds(tmp_path: Path) -> None:
    roles = ("read", "write", "delete", "admin")
    config = tmp_path / "imagerepo.yaml"
    tokens = [{"name": one, "sha256": hashlib.sha256(one.encode()).hexdigest(), "roles": [one]} for one in roles]
    config.write_text(yaml.safe_dump({"institutions": [{"id": "a", "tokens": tokens}]}))
    with Server(tmp_path / "data", "--config", str(config), workers=1, storage__reserve=0) as server:
        for number, role in enumerate(roles):
            with DimseClient(server.dimse) as client:
                assert client.store(ct(number).instance, ct(number).data_set) == SUCCESS
            may_delete, may_hold = role in {"delete", "admin"}, role == "admin"
            assert ask(server, "PUT", f"/study/{uid(1)}/hold?reason=x", role)[0] == (204 if may_hold else 403)
            assert ask(server, "DELETE", f"/study/{uid(1)}/hold?reason=x", role)[0] == (204 if may_hold else 403)
            assert ask(server, "DELETE", STUDY, role)[0] == (204 if may_delete else 403)
        assert ask(server, "DELETE", STUDY)[0] == 401


def test_a_reason_is_asked_for_where_the_setting_says_so(tmp_path: Path) -> None:
    with Server(tmp_path / "data", workers=1, storage__reserve=0, deletion__reason="required") as server:
        send(server, ct(1))
        status, said = ask(server, "DELETE", STUDY)
        assert status == 400
        assert "deletion.reason" in said
        assert ask(server, "DELETE", f"{STUDY}?reason={'x' * 1001}")[0] == 400
        assert ask(server, "DELETE", f"{STUDY}?reason=a%1b%5b2Jb")[0] == 400
        assert ask(server, "DELETE", f"{STUDY}?reason=consent")[0] == 204


@pytest.fixture(scope="module")
def reclaiming(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """It gives back bytes of what this test deletes alone."""
    folder = tmp_path_factory.mktemp("reclaiming") / "data"
    with Server(folder, workers=1, storage__reserve=0, deletion__reclaim_delay=0) as server:
        yield server


@pytest.mark.parametrize(("study", "size"), [(1, 7 << 20), (2, 40 << 20)], ids=["in a segment", "in a file"])
def test_who_still_reads_what_is_deleted_is_broken_off_rather_than_sent_zeros(
    reclaiming: Server, study: int, size: int
) -> None:
    file, other = ct(1, study=study, size=size), ct(1, study=10 + study)
    send(reclaiming, file, other)
    before = reclaiming.said().count("reclaim.done")
    reader = socket.create_connection(("127.0.0.1", reclaiming.http))
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
    reader.settimeout(30)
    reader.sendall(f"GET /image/{file.instance} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    received = bytearray(reader.recv(4096))
    assert b"200 OK" in received
    assert ask(reclaiming, "DELETE", f"/dicom-web/studies/{uid(study)}")[0] == 204
    eventually(lambda: reclaiming.said().count("reclaim.done") > before)
    while piece := _more(reader):
        received += piece
    reader.close()
    body = bytes(received).partition(b"\r\n\r\n")[2]
    assert 0 < len(body) < len(file.part10)
    assert file.part10.startswith(body)
    assert get(reclaiming.http, f"/image/{other.instance}")[0] == 200


def _more(reader: socket.socket) -> bytes:
    try:
        return reader.recv(1 << 20)
    except ConnectionResetError:
        return b""


def test_a_journal_is_verified_with_all_bytes_while_a_server_deletes(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Server(data, workers=2, storage__reserve=0, deletion__reclaim_delay=0) as server:
        owners = Owners(1)
        owners.start(server, 3)
        owners.await_answers(30)
        for _ in range(4):
            verify.verify(data, with_bytes=True)
        owners.end()
        assert server.stop() == 0
    assert_held(owners.snapshot(), walk(data).data_sets)
