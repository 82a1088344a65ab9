"""SIGTERM: what is under way is finished, nothing new is begun, and the end comes in time."""

import threading
import time
from pathlib import Path

from tests.harness.dicom_file import ct, data_set_of
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.load import Load, assert_survived
from tests.harness.server import Server
from tests.harness.stored import walk
from tests.harness.web_client import WebClient, get

MIB = 1 << 20


def test_an_association_and_a_download_are_finished_while_readiness_is_off(tmp_path: Path) -> None:
    large, sending = ct(1, size=64 * MIB), ct(2, size=4 * MIB)
    with Server(tmp_path / "data", drain_grace=30, storage__reserve=0) as server:
        with DimseClient(server.dimse) as client:
            assert client.store(large.instance, large.data_set) == SUCCESS
            client.release()
        with DimseClient(server.dimse) as client, WebClient(server.http) as web:
            client.begin(sending.instance, sending.data_set)
            with web.opened(f"/image/{large.instance}") as answer:
                first = answer.read(MIB)
                server.terminate()
                await_not_ready(server)
                assert client.finish(sending.data_set) == SUCCESS
                assert data_set_of(first + answer.read()) == large.data_set
        assert server.wait() == 0
    found = walk(tmp_path / "data")
    assert found.versions_of(sending.instance) == [sending.data_set]


def await_not_ready(server: Server) -> None:
    until = time.monotonic() + 10
    while (status := get(server.http, "/readyz")[0]) != 503:
        assert status == 200
        assert time.monotonic() < until, "readiness was never off"
        time.sleep(0.02)


def test_a_server_with_nothing_to_do_ends_at_once(tmp_path: Path) -> None:
    with Server(tmp_path / "data", drain_grace=600, storage__reserve=0) as server:
        assert server.stop() == 0  # well within the harness's patience


def test_what_exceeds_the_grace_is_cut_and_the_end_comes_all_the_same(tmp_path: Path) -> None:
    file = ct(1, size=64 * MIB)
    with Server(tmp_path / "data", drain_grace=2, storage__reserve=0) as server:
        with DimseClient(server.dimse) as client:
            assert client.store(file.instance, file.data_set) == SUCCESS
            client.release()
        with DimseClient(server.dimse) as client, WebClient(server.http) as web:
            client.begin(ct(2).instance, ct(2).data_set)
            with web.opened(f"/image/{file.instance}") as answer:
                answer.read(1)
                server.terminate()
                assert server.wait(15) == 0
    assert len(walk(tmp_path / "data").data_sets) == 1


def test_every_acknowledgement_given_while_draining_holds(tmp_path: Path) -> None:
    load = Load(11)
    with Server(tmp_path / "data", workers=2, drain_grace=20, storage__reserve=0) as server:
        load.start(server, dimse=3, stow=2)
        load.await_acknowledged(30)
        server.terminate()
        assert server.wait() == 0
        load.join()
    assert_survived(load, load.acknowledged, walk(tmp_path / "data").data_sets)
    assert threading.active_count() < 20
