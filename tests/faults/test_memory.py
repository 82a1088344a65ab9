"""Memory is bounded: a large multi-frame instance goes in and out while many clients read, and no worker grows."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from tests.harness.dicom_file import MULTI_FRAME, ct, frame, large_header, meta
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.server import Server
from tests.harness.web_client import WebClient

MIB = 1 << 20
MOST = 300 * MIB
FRAME = 512 * 512


class Watch:
    """The most that any worker had resident while the context was open."""

    def __init__(self, server: Server) -> None:
        self._server, self._end = server, threading.Event()
        self.most: dict[str, int] = {}
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.05):
            for worker in self._server.workers():
                self.most[worker.kind] = max(self.most.get(worker.kind, 0), worker.resident)


def pixels(frames: int) -> Iterator[bytes]:
    return (frame(number) for number in range(frames))


def by_stow(server: Server, frames: int) -> str:
    instance, header = large_header(frames)
    head = meta(MULTI_FRAME, instance) + header

    def whole() -> Iterator[bytes]:
        yield head
        yield from pixels(frames)

    with WebClient(server.http, timeout=600) as client:
        answer = client.stow_streamed(whole(), len(head) + frames * FRAME)
    assert answer.stored == {instance}, answer
    return instance


def by_dimse(server: Server, frames: int) -> str:
    instance, header = large_header(frames, instance="1.2.826.0.1.3680043.10.1200.9.9.9.1")

    def whole() -> Iterator[bytes]:
        yield header
        yield from pixels(frames)

    with DimseClient(server.dimse, timeout=600) as client:
        assert client.store_streamed(instance, whole(), MULTI_FRAME) == SUCCESS
    return instance


def read_whole(server: Server, path: str, frames: int) -> None:
    """Read without keeping; the first and last frame must be in it."""
    size, tail = 0, b""
    with WebClient(server.http, timeout=600) as client, client.opened(path) as answer:
        assert answer.status == 200
        while piece := answer.read(MIB):
            size += len(piece)
            tail = (tail + piece)[-FRAME - 4096 :]
    assert frames * FRAME < size < frames * FRAME + 8192
    assert frame(frames - 1) in tail


def read_small(server: Server, ending: threading.Event) -> int:
    file, count = ct(1, size=512 * 1024), 0
    while not ending.is_set():
        with WebClient(server.http) as client:
            assert client.get(f"/image/{file.instance}")[0] == 200
        count += 1
    return count


def run(folder: Path, frames: int) -> dict[str, int]:
    small, ending = ct(1, size=512 * 1024), threading.Event()
    with Server(folder / "data", storage__reserve=0) as server:
        with DimseClient(server.dimse) as client:
            assert client.store(small.instance, small.data_set) == SUCCESS
        with Watch(server) as watch, ThreadPoolExecutor(100) as readers:
            reading = [readers.submit(read_small, server, ending) for _ in range(100)]
            try:
                by_dimse(server, frames)
                instance = by_stow(server, frames)
                read_whole(server, f"/image/{instance}", frames)
                names = "1.2.826.0.1.3680043.10.1200.9"
                read_whole(server, f"/dicom-web/studies/{names}/series/{names}.9/instances/{instance}", frames)
            finally:
                ending.set()
            assert sum(one.result() for one in reading) > 100
        assert server.stop() == 0
    return watch.most


def test_no_worker_exceeds_its_memory_while_half_a_gigabyte_goes_in_and_out(tmp_path: Path) -> None:
    most = run(tmp_path, 2048)
    assert max(most.values()) < MOST, most


def test_three_hundred_clients_that_take_nothing_of_a_study_share_the_memory_of_a_worker(tmp_path: Path) -> None:
    files = [ct(number, size=2 * MIB) for number in range(1, 41)]
    with ExitStack() as ending:
        server = ending.enter_context(Server(tmp_path / "data", workers=1, storage__reserve=0))
        with DimseClient(server.dimse) as client:
            assert [client.store(file.instance, file.data_set) for file in files] == [SUCCESS] * len(files)
        watch = ending.enter_context(Watch(server))
        idle = [ending.enter_context(socket.create_connection(("127.0.0.1", server.http))) for _ in range(300)]
        for number, connection in enumerate(idle):
            path = (f"/study/{files[0].study}", f"/dicom-web/studies/{files[0].study}")[number % 2]
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        for connection in idle:
            connection.settimeout(60)
            assert connection.recv(12) == b"HTTP/1.1 200"
        with WebClient(server.http) as other:
            assert other.get(f"/image/{files[0].instance}")[0] == 200
    assert max(watch.most.values()) < MOST, watch.most


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_no_worker_exceeds_its_memory_while_two_gigabytes_go_in_and_out(tmp_path: Path) -> None:
    most = run(tmp_path, 8192)
    assert max(most.values()) < MOST, most
