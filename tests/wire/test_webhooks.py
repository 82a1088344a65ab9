"""Webhooks of a running server: what changes is told in order, signed, whoever of its processes is killed."""

import json
import os
import subprocess
import time
from pathlib import Path

import yaml

from tests.harness.dicom_file import DicomFile, ct, uid
from tests.harness.hook_receiver import SECRET, HookReceiver, hook
from tests.harness.receiver import await_
from tests.harness.server import COMMAND, Server
from tests.harness.web_client import WebClient, get

_RETRY = {"first": 0.1, "longest": 0.2, "attempts": 3}


def write(file: Path, *hooks: dict[str, object]) -> None:
    """Settings of two institutions, the first of which has webhooks."""
    institutions = [
        {"id": "default", "called_ae_titles": ["ONE"], "webhooks": list(hooks)},
        {"id": "other", "called_ae_titles": ["TWO"]},
    ]
    fresh = file.with_suffix(".fresh")
    fresh.write_text(yaml.safe_dump({"institutions": institutions, "retry": _RETRY}))
    fresh.rename(file)


def started(file: Path) -> Server:
    return Server(file.parent / "data", "--config", str(file), storage__reserve=0)


def store(server: Server, *files: DicomFile, institution: str = "default") -> list[str]:
    """Each in a request of its own; their names."""
    with WebClient(server.http, root=f"/institutions/{institution}") as client:
        for file in files:
            assert client.stow(file).stored == {file.instance}
    return [file.instance for file in files]


def kill_teller(server: Server) -> None:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
        except OSError:
            continue
        if b"task_worker" in command and str(server.data).encode() in command:
            os.kill(int(path.parent.name), 9)


def test_what_changes_is_told_in_order_and_signed_whoever_is_killed(tmp_path: Path) -> None:
    file, receiver, second = tmp_path / "settings.yaml", HookReceiver(), HookReceiver()
    write(file, hook(receiver.url, tmp_path))
    with receiver.serving(), second.serving():
        write(file, hook(receiver.url, tmp_path))
        with started(file) as server:
            wanted = store(server, *(ct(number, study=number % 3) for number in range(12)))
            kill_teller(server)
            with WebClient(server.http) as client:
                assert client.delete(f"/institutions/default/dicom-web/studies/{uid(1)}?reason=why") == 204
            wanted += [uid(1), *store(server, *(ct(number, study=7) for number in range(20)))]
        # Leaving the context has killed all of it.
        with started(file) as server:
            wanted += store(server, *(ct(number, study=8) for number in range(5)))
            store(server, ct(50), institution="other")
            await_(lambda: len(receiver.changes()) == len(wanted))
            assert receiver.told() == wanted
            _is_as_documented(server, receiver)
            write(file, hook(receiver.url, tmp_path), hook(second.url, tmp_path, "second"))
            number = 100
            while not second.messages:
                number += 1
                wanted += store(server, ct(number, study=9))
                time.sleep(0.1)
            await_(lambda: second.told()[-1] == wanted[-1] and receiver.told() == wanted)
            assert second.told() == wanted[-len(second.told()) :]
            said = server.said() + tasks(server, "list")
            assert SECRET not in said
            assert server.stop() == 0
    bodies = {one.id: one.body for one in receiver.messages}
    assert all(bodies[one.id] == one.body for one in receiver.messages)


def tasks(server: Server, *arguments: str) -> str:
    """What `imagerepo tasks` says."""
    command = [str(COMMAND), "tasks", *arguments, "--data", str(server.data)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _is_as_documented(server: Server, receiver: HookReceiver) -> None:
    for message in receiver.messages:
        said = json.loads(message.body)
        assert (message.path, message.headers["content-type"]) == ("/hook", "application/json")
        assert (said["type"], said["data"]["institution"]) == ("changes", "default")
        assert message.is_signed_by(SECRET)
        assert abs(int(message.headers["webhook-timestamp"]) - time.time()) < 600
    # From any message on, the rest can be asked for.
    first, *rest = {one.id: one for one in receiver.messages}.values()
    position = json.loads(first.body)["data"]["next"]
    status, body = get(server.http, f"/institutions/default/changes?limit=1000&since={position}")
    assert (status, json.loads(body)["changes"]) == (200, [change for one in rest for change in one.changes])
