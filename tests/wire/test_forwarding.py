"""Forwarding over real sockets: to pynetdicom, to dcmtk's storescp, to a DICOMweb server; and what keeps it."""

import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from tests.harness.dicom_file import DicomFile, ct, data_set_of
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.receiver import Receiver, await_, free_port, receiving, silent
from tests.harness.server import COMMAND, Server
from tests.harness.web_client import WebClient, get

RETRY = {"first": 0.2, "longest": 0.5, "attempts": 3}
FILES = [ct(number, study=number % 2, size=4096) for number in range(12)]


def node(port: int, name: str = "archive", **more: object) -> dict[str, object]:
    timeouts = {"connect_timeout": 1, "response_timeout": 1}
    return {"name": name, "ae_title": name.upper(), "host": "127.0.0.1", "port": port, **timeouts, **more}


@contextmanager
def forwarding(
    folder: Path,
    *nodes: dict[str, object],
    rules: Sequence[dict[str, object]] = ({"name": "all", "to": "archive"},),
    **more: object,
) -> Iterator[Server]:
    """A server whose rules send on what comes."""
    stow = more.pop("stow", [])
    file = folder / "settings.yaml"
    sent_on = {"rules": list(rules), "stow": stow}
    file.write_text(yaml.safe_dump({"nodes": list(nodes), "forwarding": sent_on, "retry": RETRY, **more}))
    with Server(folder / "data", "--config", str(file), storage__reserve=0) as server:
        yield server


def send(server: Server, files: Sequence[DicomFile] = FILES, calling: str = "CT1") -> None:
    with DimseClient(server.dimse, calling) as client:
        for file in files:
            assert client.store(file.instance, file.data_set) == SUCCESS
        client.release()


def pending(server: Server) -> int:
    _, body = get(server.http, "/metrics")
    line = next(one for one in body.decode().splitlines() if 'imagerepo_tasks_pending{kind="forward"}' in one)
    return int(float(line.split()[-1]))


def tasks(server: Server, *arguments: str) -> str:
    """What `imagerepo tasks` says."""
    command = [str(COMMAND), "tasks", *arguments, "--data", str(server.data)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_what_arrives_is_sent_on_once_as_it_came_each_study_in_order(tmp_path: Path) -> None:
    port, archive = free_port(), Receiver()
    with receiving(archive, port), forwarding(tmp_path, node(port)) as server:
        send(server)
        with WebClient(server.http) as client:
            client.stow(ct(50, study=50))
        await_(lambda: len(archive.received) == len(FILES) + 1)
        await_(lambda: pending(server) == 0)
        for study in (0, 1):
            of_study = [file.instance for file in FILES if file.study == ct(0, study=study).study]
            assert [one for one in archive.received if one in of_study] == of_study
        for file in FILES:
            assert archive.data_sets[file.instance] == file.data_set
        send(server)  # duplicates: nothing new was stored
        send(server, [ct(0, study=0, size=4096, variant=1)])  # a new version
        await_(lambda: len(archive.received) == len(FILES) + 2)
        assert archive.data_sets[FILES[0].instance] == ct(0, study=0, size=4096, variant=1).data_set
        assert server.stop() == 0


def test_one_association_serves_what_comes_at_once(tmp_path: Path) -> None:
    port, archive = free_port(), Receiver()
    with receiving(archive, port), forwarding(tmp_path, node(port)) as server:
        send(server, [ct(number, study=number % 7) for number in range(70)])
        await_(lambda: len(archive.received) == 70)
        assert len(archive.associations) <= 2
        assert server.stop() == 0


def test_who_was_given_a_study_is_in_the_journal(tmp_path: Path) -> None:
    port, archive = free_port(), Receiver()
    with receiving(archive, port), forwarding(tmp_path, node(port)) as server:
        send(server)
        await_(lambda: pending(server) == 0 and len(archive.received) == len(FILES))
        assert server.stop() == 0
        command = [str(COMMAND), "audit", "export", "--data", str(server.data)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        entries = [one for one in map(json.loads, lines) if one["caller"] == "forward:archive"]
        assert {one["study"] for one in entries if one["action"] == "read"} == {file.study for file in FILES}
        assert {(one["address"], one["protocol"]) for one in entries} == {("127.0.0.1", "dimse")}
        subprocess.run([str(COMMAND), "audit", "verify", "--data", str(server.data)], check=True, capture_output=True)


def test_rules_choose_by_sender_and_by_what_an_instance_is(tmp_path: Path) -> None:
    first, second = (free_port(), Receiver()), (free_port(), Receiver())
    rules = [
        {"name": "ct", "to": "archive", "senders": ["CT*"]},
        {
            "name": "phantoms",
            "to": "research",
            "modalities": ["CT"],
            "tags": [{"tag": "00100020", "value": "PHANTOM*"}],
        },
    ]
    phantom = DicomFile("1.2.3", "1.2.3.1", "1.2.3.1.1", b"x" * 64, {0x00100020: ("LO", "PHANTOM7")})
    with (
        receiving(first[1], first[0]),
        receiving(second[1], second[0]),
        forwarding(tmp_path, node(first[0]), node(second[0], "research"), rules=rules) as server,
    ):
        send(server, FILES[:3], "CT1")
        send(server, FILES[3:6], "MR1")
        send(server, [phantom], "MR1")
        await_(lambda: len(second[1].received) == 1 and len(first[1].received) == 3)
        assert server.stop() == 0
    assert sorted(first[1].received) == sorted(file.instance for file in FILES[:3])
    assert second[1].received == ["1.2.3.1.1"]


def test_a_dead_destination_keeps_its_own_queue_alone_and_gets_all_when_it_comes(tmp_path: Path) -> None:
    dead, port = free_port(), free_port()
    archive, late = Receiver(), Receiver()
    rules = [{"name": "one", "to": "archive"}, {"name": "other", "to": "late"}]
    with receiving(archive, port), forwarding(tmp_path, node(port), node(dead, "late"), rules=rules) as server:
        send(server)
        await_(lambda: len(archive.received) == len(FILES))
        await_(lambda: server.said().count("queue.failed") >= 3)
        assert pending(server) == len(FILES)
        said = tasks(server, "list")
        assert f"forward to late: {len(FILES)} waiting, 0 parked; failed" in said
        assert "nothing listens there" in said
        with receiving(late, dead, "LATE"):
            await_(lambda: pending(server) == 0)
        assert server.stop() == 0
    assert sorted(late.received) == sorted(file.instance for file in FILES)
    assert len(archive.received) == len(FILES)


def test_a_destination_that_says_nothing_delays_no_sender(tmp_path: Path) -> None:
    with silent() as port, forwarding(tmp_path, node(port)) as server:
        send(server)
        await_(lambda: "queue.failed" in server.said())
        begun = time.process_time()
        send(server, [ct(number, study=3) for number in range(50)])
        assert time.process_time() - begun < 5
        await_(lambda: pending(server) == len(FILES) + 50)
        assert "for 1 s" in tasks(server, "list")
        assert server.stop() == 0


def test_an_instance_that_is_refused_is_parked_and_the_others_are_sent(tmp_path: Path) -> None:
    port = free_port()
    archive = Receiver(status_of=lambda instance: 0xC000 if instance == FILES[4].instance else SUCCESS)
    with receiving(archive, port), forwarding(tmp_path, node(port)) as server:
        send(server)
        await_(lambda: " parked" in tasks(server, "list", "--state", "parked"))
        await_(lambda: pending(server) == 1)
        (parked,) = json.loads(tasks(server, "list", "--json"))["tasks"]
        assert (parked["state"], parked["attempts"]) == ("parked", 3)
        assert parked["problem"].startswith("status C000H")
        assert archive.received.count(FILES[4].instance) == 3
        archive.status_of = lambda _: SUCCESS
        assert tasks(server, "retry", str(parked["id"])) == "1 are tried again\n"
        await_(lambda: pending(server) == 0)
        assert archive.received.count(FILES[4].instance) == 4
        assert server.stop() == 0


def test_a_destination_that_is_full_is_tried_for_ever_and_nothing_is_parked(tmp_path: Path) -> None:
    port, archive = free_port(), Receiver(status_of=lambda _: 0xA700)
    with receiving(archive, port), forwarding(tmp_path, node(port)) as server:
        send(server, FILES[:2])
        await_(lambda: len(archive.received) >= 8)  # more often than a task may be refused
        assert "archive: 2 waiting, 0 parked" in tasks(server, "list")
        archive.status_of = lambda _: SUCCESS
        await_(lambda: pending(server) == 0)
        assert server.stop() == 0


def test_what_may_not_be_sent_there_any_more_is_parked_and_keeps_nobody(tmp_path: Path) -> None:
    port, archive = free_port(), Receiver()
    institutions = [{"id": one, "called_ae_titles": [one.upper()]} for one in ("north", "south")]
    with forwarding(tmp_path, node(port), institutions=institutions) as server:
        storescu(server, "SOUTH", FILES[0], tmp_path)
        await_(lambda: pending(server) == 1)
        assert server.stop() == 0
    with (
        receiving(archive, port),
        forwarding(tmp_path, node(port, institutions=["north"]), institutions=institutions) as server,
    ):
        storescu(server, "NORTH", FILES[1], tmp_path)
        await_(lambda: archive.received == [FILES[1].instance])
        await_(lambda: "archive: 0 waiting, 1 parked" in tasks(server, "list"))
        assert server.stop() == 0


def test_what_shall_not_be_sent_any_more_is_dropped(tmp_path: Path) -> None:
    with forwarding(tmp_path, node(free_port())) as server:
        send(server)
        await_(lambda: pending(server) == len(FILES))
        assert tasks(server, "drop", "--queue", "archive") == f"{len(FILES)} dropped\n"
        assert pending(server) == 0
        assert server.stop() == 0


def test_rules_are_read_again_while_serving_and_hold_for_what_comes_after(tmp_path: Path) -> None:
    port, archive = free_port(), Receiver()
    with receiving(archive, port), forwarding(tmp_path, node(port), rules=()) as server:
        send(server, FILES[:3])
        file = tmp_path / "settings.yaml"
        changed = {**yaml.safe_load(file.read_text()), "forwarding": {"rules": [{"name": "all", "to": "archive"}]}}
        file.write_text(yaml.safe_dump(changed))
        await_(lambda: server.said().count("settings.reloaded") == 3)  # by HTTP, DIMSE and the process that forwards
        send(server, FILES[3:])
        await_(lambda: len(archive.received) == len(FILES) - 3)
        assert set(archive.received) == {one.instance for one in FILES[3:]}
        assert server.stop() == 0


def test_an_institution_s_instances_go_only_where_they_may(tmp_path: Path) -> None:
    port, archive = free_port(), Receiver()
    institutions = [{"id": one, "called_ae_titles": [one.upper()]} for one in ("north", "south")]
    only = node(port, institutions=["north"])
    with receiving(archive, port), forwarding(tmp_path, only, institutions=institutions) as server:
        for institution, file in (("NORTH", FILES[0]), ("SOUTH", FILES[1])):
            storescu(server, institution, file, tmp_path)
        await_(lambda: archive.received == [FILES[0].instance])
        await_(lambda: pending(server) == 0)
        assert server.stop() == 0


def storescu(server: Server, called: str, file: DicomFile, folder: Path) -> None:
    path = folder / f"{file.instance}.dcm"
    path.write_bytes(file.part10)
    command = [_dcmtk("storescu"), "-aec", called, "127.0.0.1", str(server.dimse), str(path)]
    subprocess.run(command, check=True, capture_output=True)


def _dcmtk(name: str) -> str:
    found = shutil.which(name)
    assert found is not None, f"dcmtk's {name} is missing; tests/setup installs it"
    return found


def test_dcmtk_s_storescp_is_a_destination(tmp_path: Path) -> None:
    port, folder = free_port(), tmp_path / "received"
    folder.mkdir()
    command = [_dcmtk("storescp"), "-aet", "ARCHIVE", "-od", str(folder), "+xa", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as storescp:
        try:
            with forwarding(tmp_path, node(port)) as server:
                send(server)
                await_(lambda: len(list(folder.iterdir())) == len(FILES) and pending(server) == 0)
                assert server.stop() == 0
        finally:
            storescp.terminate()
    received = {data_set_of(path.read_bytes()) for path in folder.iterdir()}
    assert received == {file.data_set for file in FILES}


def test_a_dicomweb_server_is_a_destination(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with Server(tmp_path / "other" / "data", storage__reserve=0) as other:
        stow = [{"name": "cloud", "url": f"http://127.0.0.1:{other.http}/dicom-web", "timeout": 2}]
        rules = [{"name": "all", "to": "cloud"}]
        with forwarding(tmp_path / "one", rules=rules, stow=stow) as server:
            send(server)
            await_(lambda: stored(other) == len(FILES) and pending(server) == 0)
            for file in FILES:
                status, body = get(other.http, f"/image/{file.instance}")
                assert (status, data_set_of(body)) == (200, file.data_set)
            assert server.stop() == 0
        assert other.stop() == 0


def test_a_dicomweb_server_gets_the_token_it_asks_for(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    secret, file = "a-token", tmp_path / "token"
    file.write_text("another\n")
    token = {"name": "repo", "sha256": hashlib.sha256(secret.encode()).hexdigest(), "roles": ["write", "read"]}
    institutions = json.dumps([{"id": "north", "tokens": [token]}])
    with Server(tmp_path / "other" / "data", storage__reserve=0, institutions=institutions) as other:
        url = f"http://127.0.0.1:{other.http}/dicom-web"
        stow = [{"name": "cloud", "url": url, "timeout": 2, "token_file": str(file)}]
        with forwarding(tmp_path / "one", rules=[{"name": "all", "to": "cloud"}], stow=stow) as server:
            send(server, FILES[:3])
            await_(lambda: "answers 401; check forwarding.stow[].token_file" in tasks(server, "list"))
            file.write_text(f"{secret}\n")
            await_(lambda: pending(server) == 0)
            with WebClient(other.http) as client:
                status, body = client.get("/dicom-web/instances", Authorization=f"Bearer {secret}")
            assert (status, len(json.loads(body))) == (200, 3)
            assert server.stop() == 0


def test_a_connection_that_its_server_has_ended_is_opened_again(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    with Server(tmp_path / "other" / "data", storage__reserve=0, http__keep_alive=0.2) as other:
        stow = [{"name": "cloud", "url": f"http://127.0.0.1:{other.http}/dicom-web", "timeout": 2}]
        with forwarding(tmp_path / "one", rules=[{"name": "all", "to": "cloud"}], stow=stow) as server:
            for number in range(4):
                send(server, [FILES[number]])
                time.sleep(0.5)
            await_(lambda: pending(server) == 0 and stored(other) == 4)
            assert "failed" not in server.said()
            assert server.stop() == 0


def stored(server: Server) -> int:
    status, body = get(server.http, "/dicom-web/instances")
    return len(json.loads(body)) if status == 200 else 0


@pytest.mark.parametrize(
    ("problem", "url"),
    [
        ("cannot be reached", lambda _: f"http://127.0.0.1:{free_port()}"),
        ("answers 404; check forwarding.stow[].url", lambda other: f"http://127.0.0.1:{other.http}/nowhere"),
        ("no agreement over TLS", lambda other: f"https://127.0.0.1:{other.http}/dicom-web"),
        ("was silent for 2 s", lambda _: "silent"),
    ],
)
def test_a_dicomweb_server_that_cannot_be_used_is_said_why(
    tmp_path: Path, problem: str, url: Callable[[Server], str]
) -> None:
    (tmp_path / "one").mkdir()
    rules = [{"name": "all", "to": "cloud"}]
    with silent() as port, Server(tmp_path / "other" / "data", storage__reserve=0) as other:
        at = url(other).replace("silent", f"http://127.0.0.1:{port}")
        stow = [{"name": "cloud", "url": at, "timeout": 2}]
        with forwarding(tmp_path / "one", rules=rules, stow=stow) as server:
            send(server, FILES[:1])
            await_(lambda: problem in tasks(server, "list"))
            assert server.stop() == 0
