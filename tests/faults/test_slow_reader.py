"""Readers that take their time: each gets the bytes that were stored, though buffers are used again and again."""

import io
import socket
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from tests.harness.dicom_file import ct
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.server import Server
from tests.harness.web_client import get

FILES = [
    ct(number, size=size * 1024) for number, size in enumerate((512, 20, 700, 3, 1500, 512, 512, 1, 2000, 600), 1)
]
READERS = 6


def read_slowly(port: int, path: str, pause: float) -> bytes:
    """A body, taken in small bites with pauses between them."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
        connection.connect(("127.0.0.1", port))
        connection.settimeout(60)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        received = bytearray()
        while piece := connection.recv(64 << 10):
            received += piece
            time.sleep(pause)
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    return body


def test_slow_readers_get_what_was_stored(tmp_path: Path) -> None:
    with Server(tmp_path / "data", storage__reserve=0) as server, ThreadPoolExecutor(READERS) as readers:
        with DimseClient(server.dimse) as client:
            for file in FILES:
                assert client.store(file.instance, file.data_set) == SUCCESS
            client.release()
        pauses = [0.001 * (1 + number % 3) for number in range(READERS)]
        bodies = readers.map(lambda pause: read_slowly(server.http, f"/study/{FILES[0].study}", pause), pauses)
        for body in bodies:
            with zipfile.ZipFile(io.BytesIO(body)) as archive:
                found = {name.rpartition("/")[2]: archive.read(name) for name in archive.namelist()}
            assert sorted(found) == sorted(f"{file.instance}.dcm" for file in FILES)
            for file in FILES:
                assert found[f"{file.instance}.dcm"].endswith(file.data_set)


LEAVING = 20


def test_what_a_client_that_left_has_not_taken_is_not_read(tmp_path: Path) -> None:
    files = [ct(number, size=4 << 20) for number in range(1, 51)]
    path = f"/study/{files[0].study}"
    with Server(tmp_path / "data", workers=1, storage__reserve=0) as server:
        with DimseClient(server.dimse) as client:
            assert [client.store(file.instance, file.data_set) for file in files] == [SUCCESS] * len(files)
        whole, before = len(get(server.http, path)[1]), retrieved(server)
        assert before >= whole - (1 << 20)
        with ExitStack() as leaving:
            for _ in range(LEAVING):
                connection = leaving.enter_context(socket.socket())
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
                connection.connect(("127.0.0.1", server.http))
                connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
                assert connection.recv(12) == b"HTTP/1.1 200"
            assert get(server.http, "/healthz")[0] == 200
        time.sleep(1)
        assert get(server.http, "/healthz")[0] == 200
        # The kernel takes some megabytes for each, whether they leave or not.
        assert retrieved(server) - before < LEAVING * (32 << 20)


def retrieved(server: Server) -> float:
    lines = get(server.http, "/metrics")[1].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("imagerepo_retrieved_bytes_total{"))
