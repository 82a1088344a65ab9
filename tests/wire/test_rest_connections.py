"""Connections that are held, too many, or not HTTP: against the real process tree."""

import contextlib
import re
import resource
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.dicom_file import ct
from tests.harness.server import Server
from tests.harness.web_client import WebClient, get

MIB = 1 << 20
MOST = 20  # http.max_connections
LARGE = ct(1, size=24 * MIB)
SMALL = ct(2)
STOW = b"POST /dicom-web/studies HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/dicom\r\n"
GET = b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("connections") / "data"
    limits = {"http__idle_timeout": 60, "http__send_timeout": 1, "http__max_connections": MOST}
    with Server(folder, workers=1, storage__reserve=0, **limits) as running:
        with WebClient(running.http) as client:
            assert client.stow(LARGE, SMALL).status == 200
        yield running


def connect(server: Server, receive_buffer: int = 0) -> socket.socket:
    made = socket.socket()
    if receive_buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    made.settimeout(30)
    made.connect(("127.0.0.1", server.http))
    return made


def metric(server: Server, name: str, labels: str = "") -> float:
    _, said = get(server.http, "/metrics")
    found = re.search(rf"^{name}{re.escape(labels)} (\S+)$", said.decode(), re.MULTILINE)
    return float(found[1]) if found else 0.0


def ended(server: Server, reason: str) -> float:
    return metric(server, "imagerepo_http_connections_ended_total", f'{{reason="{reason}"}}')


def until(condition) -> None:
    limit = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.05)


def read_all(connection: socket.socket) -> bytes:
    answer = b""
    while piece := connection.recv(65536):
        answer += piece
    return answer


@pytest.mark.parametrize("path", [f"/image/{LARGE.instance}", f"/series/{LARGE.series}", f"/study/{LARGE.study}"])
def test_a_client_that_takes_nothing_is_let_go(server: Server, path: str) -> None:
    before = ended(server, "send_timeout")
    with connect(server, receive_buffer=4096) as connection:
        connection.sendall(GET % path.encode())
        until(lambda: ended(server, "send_timeout") == before + 1)
        until(lambda: metric(server, "imagerepo_http_requests_in_flight") == 1)  # the scrape itself
        with contextlib.suppress(ConnectionResetError):
            assert len(read_all(connection)) < len(LARGE.part10)
    assert "http.client_stalled" in server.said()


def test_a_client_that_takes_little_at_a_time_gets_everything(server: Server) -> None:
    before = ended(server, "send_timeout")
    with connect(server, receive_buffer=64 << 10) as connection:
        connection.sendall(b"GET /image/%s HTTP/1.0\r\nHost: localhost\r\n\r\n" % LARGE.instance.encode())
        answer = bytearray()
        begun = time.monotonic()
        while piece := connection.recv(512 << 10):
            answer += piece
            if time.monotonic() < begun + 4:  # longer than the timeout, never as long at a stretch
                time.sleep(0.4)
    assert bytes(answer).endswith(LARGE.part10)
    assert ended(server, "send_timeout") == before


def test_probes_answer_beyond_the_limit_of_connections_and_nothing_else_does(server: Server) -> None:
    with contextlib.ExitStack() as held:
        mine = [held.enter_context(WebClient(server.http)) for _ in range(MOST)]
        for one in mine:
            assert one.get("/healthz")[0] == 200
        for path in ("/healthz", "/readyz", "/readyz/write", "/metrics"):
            assert get(server.http, path)[0] == 200
        with connect(server) as surplus:
            surplus.sendall(GET % b"/dicom-web/studies")
            answer = read_all(surplus).decode()
        assert answer.startswith("HTTP/1.1 503 ")
        assert "http.max_connections" in answer
        assert "retry-after" in answer
        # Those within the limit are served as ever.
        assert mine[0].get("/dicom-web/studies")[0] == 200
        assert ended(server, "connection_limit") >= 1
    until(lambda: get(server.http, "/dicom-web/studies")[0] == 200)


def test_connections_beyond_the_limit_that_ask_for_nothing_do_not_keep_probes_out(server: Server) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(MOST + 200):
            held.enter_context(connect(server))
        assert get(server.http, "/healthz")[0] == 200
    until(lambda: get(server.http, "/dicom-web/studies")[0] == 200)


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(60), 400, "TLS"),
        (b"\x01\x00\x00\x00\x00\xce\x00\x01\x00\x00", 400, "dicom_listen"),
        (b"GET /healthz HTTP/1.1\r\nHost localhost\r\n\r\n", 400, "RFC 9112"),
        (
            STOW + b"Transfer-Encoding: chunked\r\n\r\n4\r\nDICM\r\nno length\r\n",
            400,
            "RFC 9112",
        ),
        (b"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", 431, "64 KiB"),
    ],
)
def test_what_is_not_http_is_answered_with_a_sentence(server: Server, sent: bytes, status: int, said: str) -> None:
    with connect(server) as connection:
        connection.sendall(sent)
        answer = read_all(connection).decode()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    assert said in answer.partition("\r\n\r\n")[2]


def test_garbage_after_a_request_never_stands_in_its_answer(server: Server) -> None:
    with connect(server, receive_buffer=4096) as connection:
        connection.sendall(GET % f"/image/{LARGE.instance}".encode())
        answer = connection.recv(1000)
        connection.sendall(b"\0garbage\r\n\r\n")
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(MIB):
                answer += piece
    body = answer.partition(b"\r\n\r\n")[2]
    assert LARGE.part10.startswith(body)


def test_the_longest_lists_that_are_searched_are_served(server: Server) -> None:
    uids = ",".join(f"1.{number}" for number in range(999))
    modalities = ",".join(f"M{number}" for number in range(99))
    path = f"/dicom-web/studies?StudyInstanceUID={LARGE.study},{uids}&ModalitiesInStudy=CT,{modalities}"
    status, body = get(server.http, path)
    assert (status, body.count(b"0020000D")) == (200, 1)
    for more in (f"StudyInstanceUID=2.1,2.2,{uids}", f"ModalitiesInStudy=MR,CT,{modalities}"):
        status, body = get(server.http, f"/dicom-web/studies?{more}")
        assert status == 400
        assert b"at the most" in body


def answered(connection: socket.socket, path: bytes) -> bytes:
    """The head of an answer whose body has come as a whole."""
    connection.sendall(GET % path)
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head)[1])
    while len(body) < length:
        body += connection.recv(65536)
    return head


def test_connections_that_are_old_end_with_an_answer_that_says_so(tmp_path: Path) -> None:
    with Server(tmp_path / "data", workers=1, storage__reserve=0, http__connection_age=1) as running:
        with WebClient(running.http) as client:
            assert client.stow(LARGE).status == 200
        with contextlib.ExitStack() as opened:
            left = [opened.enter_context(connect(running)) for _ in range(8)]
            while left:
                for one in list(left):
                    head = answered(one, b"/readyz")
                    assert head.startswith(b"HTTP/1.1 200 ")
                    if b"connection: close" in head:
                        assert one.recv(1) == b""
                        left.remove(one)
                time.sleep(0.02)
        assert ended(running, "age") >= 8
        # An answer that takes longer is not cut.
        with connect(running) as connection:
            connection.sendall(GET % f"/image/{LARGE.instance}".encode())
            time.sleep(1.2)
            answer, wanted = bytearray(), LARGE.part10
            while not answer.endswith(wanted[-1024:]):
                answer += connection.recv(65536)
            head, _, body = answer.partition(b"\r\n\r\n")
            assert body == wanted
            assert b"connection: close" not in head
            assert b"connection: close" in answered(connection, b"/readyz")


def test_workers_may_open_what_their_connections_need(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with Server(tmp_path / "data", workers=1, storage__reserve=0, http__max_connections=500) as running:
            for worker in running.workers():
                limits = Path(f"/proc/{worker.pid}/limits").read_text()
                assert int(re.search(r"Max open files +(\d+)", limits)[1]) == min(1524, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
