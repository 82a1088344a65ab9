"""Forwarding over real sockets: what is sent on, when, and to whom it may go."""

import hashlib
import json
import subprocess
from pathlib import Path

import yaml

from tests.harness.dicom_file import DicomFile, ct
from tests.harness.receiver import Receiver, await_, free_port, receiving
from tests.harness.server import Server
from tests.harness.web_client import WebClient
from tests.wire.forwarding import dcmtk, forwarding, node, pending, send, tasks

FILES = [ct(number, study=number % 2, size=4096) for number in range(12)]


def test_what_arrives_is_sent_on_once_as_it_came_each_study_in_order(tmp_path: Path) -> None:
    port, archive = free_port(), Receiver()
    with receiving(archive, port), forwarding(tmp_path, node(port)) as server:
        send(server, FILES)
        with WebClient(server.http) as client:
            client.stow(ct(50, study=50))
        await_(lambda: len(archive.received) == len(FILES) + 1)
        await_(lambda: pending(server) == 0)
        for study in (0, 1):
            of_study = [file.instance for file in FILES if file.study == ct(0, study=study).study]
            assert [one for one in archive.received if one in of_study] == of_study
        for file in FILES:
            assert archive.data_sets[file.instance] == file.data_set
        send(server, FILES)  # duplicates: nothing new was stored
        send(server, [ct(0, study=0, size=4096, variant=1)])  # a new version
        await_(lambda: len(archive.received) == len(FILES) + 2)
        assert archive.data_sets[FILES[0].instance] == ct(0, study=0, size=4096, variant=1).data_set
        assert server.stop() == 0


def test_an_institution_s_instances_go_only_where_they_may_and_what_may_no_more_is_parked(tmp_path: Path) -> None:
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
        for institution, file in (("SOUTH", FILES[1]), ("NORTH", FILES[2])):
            storescu(server, institution, file, tmp_path)
        await_(lambda: archive.received == [FILES[2].instance])
        await_(lambda: "archive: 0 waiting, 1 parked" in tasks(server, "list"))
        assert pending(server) == 1  # that of the time when it was allowed
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


def storescu(server: Server, called: str, file: DicomFile, folder: Path) -> None:
    path = folder / f"{file.instance}.dcm"
    path.write_bytes(file.part10)
    command = [dcmtk("storescu"), "-aec", called, "127.0.0.1", str(server.dimse), str(path)]
    subprocess.run(command, check=True, capture_output=True)


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
