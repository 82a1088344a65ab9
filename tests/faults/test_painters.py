"""Painters are the worker's that started them: they end with it, however it ends, and never take it along."""

import time
from pathlib import Path

import httpx

from tests.harness.painters import painters
from tests.harness.server import Server
from tests.wire.dicomweb_samples import make
from tests.wire.dicomweb_serving import stow

WITHIN = 30.0  # seconds


def paint(server: Server, client: httpx.Client) -> int:
    """Have the only worker paint; its painter."""
    assert stow(client, [make(study="1.2.3.4", size=64)]).status_code == 200
    picture = client.get("/dicom-web/studies/1.2.3.4/thumbnail")
    assert picture.headers["content-type"] == "image/jpeg", picture.text
    (worker,) = [one.pid for one in server.workers() if one.kind == "http"]
    (painter,) = painters(worker)
    return painter


def await_end(pid: int) -> None:
    until = time.monotonic() + WITHIN
    while Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes():
        assert time.monotonic() < until, "a painter outlived its worker"
        time.sleep(0.02)


def test_painters_end_with_a_server_that_is_stopped(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, httpx.Client(base_url=server.url, timeout=30) as client:
        painter = paint(server, client)
        client.close()
        assert server.stop() == 0
        await_end(painter)


def test_painters_end_with_a_server_that_is_killed(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, httpx.Client(base_url=server.url, timeout=30) as client:
        painter = paint(server, client)
        server.kill_parent()
        await_end(painter)
        server.await_end_of_tree()


def test_a_server_that_paints_nothing_has_no_painter(tmp_path: Path) -> None:
    with Server(tmp_path / "data") as server, httpx.Client(base_url=server.url, timeout=30) as client:
        assert client.get("/dicom-web/studies/1.2.3.4/thumbnail").status_code == 404
        assert [one for worker in server.workers() for one in painters(worker.pid)] == []
