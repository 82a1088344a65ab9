"""Forwarding survives `kill -9` of the tree and of its process: nothing is lost, little is sent twice."""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.harness.dicom_file import DicomFile, ct
from tests.harness.dimse_client import SUCCESS, DimseClient, EndedError
from tests.harness.receiver import Receiver, await_, free_port, receiving
from tests.harness.server import Server
from tests.harness.web_client import get

PAUSE = 0.002  # seconds that the destination takes for an instance: so that it is killed amid sending
TWICE = 600  # instances a kill that may be sent twice: those of about a second


def settings(folder: Path, port: int) -> str:
    node = {"name": "archive", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": port, "response_timeout": 5}
    rules = [{"name": "all", "to": "archive"}]
    file = folder / "settings.yaml"
    retry = {"first": 0.1, "longest": 0.5}
    file.write_text(yaml.safe_dump({"nodes": [node], "forwarding": {"rules": rules}, "retry": retry}))
    return str(file)


def send(server: Server, study: int, count: int) -> list[DicomFile]:
    """Those that were acknowledged."""
    acknowledged: list[DicomFile] = []
    try:
        with DimseClient(server.dimse) as client:
            for number in range(count):
                file = ct(number, study=study, size=1024)
                if client.store(file.instance, file.data_set) == SUCCESS:
                    acknowledged.append(file)
            client.release()
    except EndedError:
        pass
    return acknowledged


def task_process(server: Server) -> list[int]:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"task_worker" in command(pid)]


def command(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def pending(server: Server) -> int:
    _, body = get(server.http, "/metrics")
    line = next(one for one in body.decode().splitlines() if 'imagerepo_tasks_pending{kind="forward"}' in one)
    return int(float(line.split()[-1]))


def assert_all_sent(archive: Receiver, acknowledged: list[DicomFile], kills: int) -> None:
    """Everything acknowledged came as it was sent, and of what came twice there is little."""
    for file in acknowledged:
        assert archive.data_sets.get(file.instance) == file.data_set, f"lost: {file.instance}"
    twice = sum(count - 1 for count in Counter(archive.received).values())
    assert twice <= kills * TWICE


def settled(archive: Receiver, server: Server, acknowledged: list[DicomFile]) -> Callable[[], bool]:
    return lambda: {one.instance for one in acknowledged} <= set(archive.received) and pending(server) == 0


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 8))])
def test_what_was_acknowledged_is_sent_on_though_the_tree_is_killed(tmp_path: Path, seed: int) -> None:
    rng, port, archive = random.Random(seed), free_port(), Receiver(pause=PAUSE)
    config, acknowledged, kills = settings(tmp_path, port), list[DicomFile](), 3
    with receiving(archive, port):
        for round_ in range(kills):
            with Server(tmp_path / "data", "--config", config, storage__reserve=0) as server:
                acknowledged += send(server, round_, 150)
                # Before, while and after the tasks of these were made, and sent.
                sent = len(archive.received) + rng.choice([0, 0, 20, 100])
                await_(lambda sent=sent: len(archive.received) >= sent)
                server.kill()
        with Server(tmp_path / "data", "--config", config, storage__reserve=0) as server:
            await_(settled(archive, server, acknowledged), 60)
            count = len(archive.received)
            fresh = send(server, 99, 1)  # nothing of before is sent again meanwhile
            await_(settled(archive, server, fresh))
            assert len(archive.received) == count + 1
            assert server.stop() == 0
    assert_all_sent(archive, acknowledged, kills)


def test_what_was_acknowledged_is_sent_on_though_its_process_is_killed(tmp_path: Path) -> None:
    port, archive = free_port(), Receiver(pause=PAUSE)
    config, acknowledged, kills = settings(tmp_path, port), list[DicomFile](), 3
    with receiving(archive, port), Server(tmp_path / "data", "--config", config, storage__reserve=0) as server:
        for round_ in range(kills):
            await_(lambda: task_process(server))
            acknowledged += send(server, round_, 150)
            sent = len(archive.received)
            await_(lambda sent=sent: len(archive.received) > sent + 20)
            os.kill(task_process(server)[0], signal.SIGKILL)
        await_(settled(archive, server, acknowledged), 60)
        assert get(server.http, "/readyz")[0] == 200
        assert server.stop() == 0
    assert_all_sent(archive, acknowledged, kills)


def test_it_ends_in_order_amid_sending_and_the_rest_is_sent_at_the_next_start(tmp_path: Path) -> None:
    port, archive = free_port(), Receiver(pause=0.02)
    config = settings(tmp_path, port)
    with receiving(archive, port):
        with Server(tmp_path / "data", "--config", config, storage__reserve=0) as server:
            acknowledged = send(server, 1, 300)
            await_(lambda: len(archive.received) > 20)
            assert server.stop() == 0
        assert len(archive.received) < len(acknowledged)
        with Server(tmp_path / "data", "--config", config, storage__reserve=0) as server:
            await_(settled(archive, server, acknowledged), 60)
            assert server.stop() == 0
    assert_all_sent(archive, acknowledged, 0)
