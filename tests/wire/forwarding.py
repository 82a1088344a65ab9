"""A server that sends on what comes, and what it says of it."""

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.harness.dicom_file import DicomFile
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.server import COMMAND, Server
from tests.harness.web_client import get

RETRY = {"first": 0.2, "longest": 0.5, "attempts": 3}


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


def send(server: Server, files: Sequence[DicomFile], calling: str = "CT1") -> None:
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


def dcmtk(name: str) -> str:
    """Where it is."""
    found = shutil.which(name)
    assert found is not None, f"dcmtk's {name} is missing; tests/setup installs it"
    return found
