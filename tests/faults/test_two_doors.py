"""The same instance through both doors and from many clients at the same moment."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.harness.dicom_file import DicomFile, ct, data_set_of
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.server import Server
from tests.harness.stored import walk
from tests.harness.web_client import WebClient, get


def send_at_once(server: Server, files: list[DicomFile]) -> None:
    """One client a file, every second one by STOW-RS, all starting together."""
    barrier = threading.Barrier(len(files))

    def send(number: int) -> None:
        file = files[number]
        if number % 2:
            with WebClient(server.http) as client:
                client.get("/healthz")
                barrier.wait()
                assert client.stow(file).stored == {file.instance}
            return
        with DimseClient(server.dimse) as client:
            barrier.wait()
            assert client.store(file.instance, file.data_set) == SUCCESS

    with ThreadPoolExecutor(len(files)) as pool:
        list(pool.map(send, range(len(files))))


def test_the_same_bytes_become_one_row(tmp_path: Path) -> None:
    with Server(tmp_path / "data", workers=2, storage__reserve=0) as server:
        for number in range(10):
            send_at_once(server, [ct(number, size=50_000)] * 8)
        server.stop()
    found = walk(tmp_path / "data")
    assert len(found.data_sets) == 10


def test_different_bytes_become_versions_each_of_them_readable(tmp_path: Path) -> None:
    with Server(tmp_path / "data", workers=2, storage__reserve=0) as server:
        for number in range(5):
            files = [ct(number, size=50_000, variant=variant) for variant in range(8)]
            send_at_once(server, files)
            answers = [get(server.http, f"/image/{files[0].instance}?version={one}") for one in range(1, 9)]
            assert {data_set_of(body) for _, body in answers} == {file.data_set for file in files}
            assert get(server.http, f"/image/{files[0].instance}?version=9")[0] == 404
        server.stop()
    found = walk(tmp_path / "data")
    assert len(found.data_sets) == 40
