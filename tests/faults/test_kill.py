"""`kill -9` at any instant: what was acknowledged is there, and nothing is half there."""

import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.load import Load, assert_survived, fresh
from tests.harness.server import NotStartedError, Server
from tests.harness.stored import walk
from tests.harness.web_client import get

SEGMENT = 8 << 20  # bytes: small, so that segments are also ended and begun


def kill_while_ingesting(folder: Path, seed: int, kills: int) -> int:
    """Kill the tree `kills` times on one folder, looking after each; how many instances were compared."""
    rng = random.Random(seed)
    compared = 0
    everything = Load(seed)
    for round_ in range(kills):
        load = Load(seed * 1000 + round_, sent=everything.sent)
        with Server(folder / "data", workers=2, storage__segment_size=SEGMENT, storage__reserve=0) as server:
            load.start(server, dimse=3, stow=2)
            load.await_acknowledged(rng.randrange(1, 40))
            time.sleep(rng.random() * 0.2)
            server.kill()
            load.join()
        everything.acknowledged += load.acknowledged
        if round_ % 2:
            # Between a crash and the next start nothing was repaired: only what starts sees to that.
            continue
        with Server(folder / "data", workers=1, storage__reserve=0) as server:
            assert server.stop() == 0
        compared += assert_survived(everything, everything.acknowledged, walk(folder / "data").data_sets)
    with Server(folder / "data", workers=1, storage__reserve=0) as server:
        assert server.stop() == 0
    return compared + assert_survived(everything, everything.acknowledged, walk(folder / "data").data_sets)


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_acknowledged_survives_five_kills_of_the_tree(tmp_path: Path, seed: int) -> None:
    assert kill_while_ingesting(tmp_path, seed, 5) > 0


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 120))
def test_what_was_acknowledged_survives_ten_kills_of_the_tree(tmp_path: Path, seed: int) -> None:
    kill_while_ingesting(tmp_path, seed, 10)


@pytest.mark.parametrize("kind", ["dimse", "http"])
def test_a_worker_that_dies_is_replaced_and_nothing_acknowledged_is_lost(tmp_path: Path, kind: str) -> None:
    load = Load(7)
    with Server(tmp_path / "data", workers=2, storage__reserve=0) as server:
        load.start(server, dimse=3, stow=2)
        load.await_acknowledged(20)
        for _ in range(3):
            victim = next(worker for worker in server.workers() if worker.kind == kind)
            os.kill(victim.pid, signal.SIGKILL)
            load.await_acknowledged(len(load.acknowledged) + 40)
            deadline = time.monotonic() + 30
            while len(server.workers()) < 4 or victim.pid in {worker.pid for worker in server.workers()}:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        load.end()
        assert get(server.http, "/readyz")[0] == 200
        # The same instances over all workers, old and new: known to each of them.
        with DimseClient(server.dimse) as client:
            for file in load.acknowledged[:20]:
                assert client.store(file.instance, file.data_set) == SUCCESS
        assert server.stop() == 0
    assert_survived(load, load.acknowledged, walk(tmp_path / "data").data_sets)


def test_workers_die_with_their_parent_and_the_folder_is_free_again(tmp_path: Path) -> None:
    load = Load(8)
    with Server(tmp_path / "data", workers=2, storage__reserve=0) as server:
        load.start(server, dimse=2, stow=1)
        load.await_acknowledged(20)
        server.kill_parent()
        server.await_end_of_tree()
        load.join()
    with Server(tmp_path / "data", workers=1, storage__reserve=0) as server:
        with DimseClient(server.dimse) as client:
            assert client.store(fresh(1).instance, fresh(1).data_set) == SUCCESS
        assert server.stop() == 0
    load.sent[fresh(1).instance] = {fresh(1).data_set}
    assert_survived(load, load.acknowledged, walk(tmp_path / "data").data_sets)


def test_a_second_server_on_the_folder_is_refused_by_name(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server:
        with pytest.raises(NotStartedError, match="status 1") as error:
            Server(tmp_path / "data")
        assert str(tmp_path / "data") in str(error.value)
        assert "Traceback" not in str(error.value)
        assert get(server.http, "/readyz")[0] == 200


@pytest.mark.parametrize("setting", ["listen", "dicom_listen"])
def test_a_taken_port_is_refused_by_the_settings_name(tmp_path: Path, setting: str) -> None:
    with Server(tmp_path / "one") as server:
        taken = {"listen": server.http, "dicom_listen": server.dimse}[setting]
        flag = f"--{setting.replace('_', '-')}"
        with pytest.raises(NotStartedError, match="status 1") as error:
            Server(tmp_path / "two", flag, f"127.0.0.1:{taken}")
        assert f"{setting}: cannot listen on 127.0.0.1:{taken}" in str(error.value).replace("\n", " ")
        assert "Traceback" not in str(error.value)
