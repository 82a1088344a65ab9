"""What one connection may cost before it has asked for anything: against the real process tree."""

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from tests.harness.server import Server
from tests.harness.web_client import get

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("guard") / "data"
    with Server(folder, workers=1, storage__reserve=0, http__idle_timeout=2) as running:
        yield running


def connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.http), timeout=30)


def send_for_a_while(connection: socket.socket, chunk: bytes, size: int) -> None:
    connection.settimeout(2)
    with contextlib.suppress(OSError):
        for _ in range(size // len(chunk)):
            connection.sendall(chunk)


def test_a_header_without_end_is_refused_and_others_are_served(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Endless: ")
        send_for_a_while(connection, b"a" * 65536, 32 * MIB)
        assert get(server.http, "/healthz")[0] == 200
        with contextlib.suppress(ConnectionError):
            assert b" 431 " in connection.recv(1000)


def test_requests_sent_without_reading_answers_do_not_pile_up(server: Server) -> None:
    request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(server) as connection:
        send_for_a_while(connection, request * 2000, 32 * MIB)
        assert get(server.http, "/healthz")[0] == 200
    for worker in server.workers():
        assert worker.resident < 250 * MIB


def test_a_few_pipelined_requests_are_answered_in_order(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
        answered = b""
        while answered.count(b"HTTP/1.1 200") < 5:
            answered += connection.recv(65536)


def test_an_empty_line_after_an_answer_does_not_hold_the_connection(server: Server) -> None:
    with connect(server) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b" 200 " in connection.recv(65536)
        connection.sendall(b"\r\n")
        until = time.monotonic() + 20
        while connection.recv(65536):
            assert time.monotonic() < until
