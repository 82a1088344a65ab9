"""adapters.objects_s3.gateways: which is asked, when one is down and when it is back."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from imagerepo.adapters.objects_s3.gateways import Gateways
from imagerepo.errors import UnavailableError

_SOON = 10.0  # seconds


def deadline(seconds: float = _SOON) -> float:
    return time.monotonic() + seconds


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def gateway(port: int = 0, status: int = 200) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", port), Handler)
    server.status = status
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def dead() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def opened(*urls: str) -> Iterator[Gateways]:
    made = Gateways(urls)
    try:
        yield made
    finally:
        made.close()


def test_the_nearest_is_asked_and_another_where_it_has_failed_before() -> None:
    with opened("http://a", "http://b") as gateways:
        assert gateways.choose((), deadline()) == "http://a"
        assert gateways.choose({"http://a"}, deadline()) == "http://b"
        assert gateways.choose({"http://a", "http://b"}, deadline()) == "http://a"


def test_one_that_is_lost_is_not_asked_until_it_answers(dead: str) -> None:
    with opened(dead, "http://b") as gateways:
        gateways.lost(dead, "no connection")
        assert gateways.choose((), deadline()) == "http://b"
        with gateway(int(dead.rpartition(":")[2])):
            until = deadline()
            while gateways.choose((), deadline()) != dead:
                assert time.monotonic() < until
                time.sleep(0.01)


def test_one_that_answers_an_error_is_not_back(dead: str) -> None:
    with opened(dead) as gateways, gateway(int(dead.rpartition(":")[2]), status=503):
        gateways.lost(dead, "no connection")
        with pytest.raises(UnavailableError):
            gateways.choose((), deadline(1.0))


def test_who_waits_goes_on_when_one_is_back(dead: str) -> None:
    with opened(dead) as gateways:
        gateways.lost(dead, "no connection")
        found: list[str] = []
        waiting = [threading.Thread(target=lambda: found.append(gateways.choose((), deadline(30)))) for _ in range(5)]
        for one in waiting:
            one.start()
        with gateway(int(dead.rpartition(":")[2])):
            for one in waiting:
                one.join()
    assert found == [dead] * 5


def test_when_all_are_down_each_is_named_with_its_reason(dead: str) -> None:
    with opened(dead) as gateways:
        gateways.lost(dead, "dns error")
        for told in (
            pytest.raises(UnavailableError, match=rf"{dead} \(dns error\).*cluster\.store\.endpoints"),
            pytest.raises(UnavailableError),
        ):
            with told:
                gateways.choose((), deadline(0))
        assert "dns error" in gateways.complaint()


def test_silence_is_no_fault_of_one_that_answers_a_probe(dead: str) -> None:
    with gateway() as slow, opened(slow, dead) as gateways:
        gateways.doubt(slow, "no answer in time")
        assert gateways.choose((), deadline()) == slow
        gateways.doubt(dead, "no answer in time")
        assert gateways.choose({slow}, deadline()) == slow


def test_one_that_answers_probes_and_nothing_else_is_tried_seldom() -> None:
    with gateway() as answers, opened(answers) as gateways:
        tried, until = 0, time.monotonic() + 3
        while time.monotonic() < until:
            try:
                gateways.choose((), until)
            except UnavailableError:
                break
            tried += 1
            gateways.lost(answers, "it refuses")
        assert tried <= 4


def test_a_complaint_is_made_though_nobody_has_asked_yet(dead: str) -> None:
    with opened(dead) as gateways:
        assert dead in gateways.complaint()
    with gateway() as answers, opened(dead, answers) as gateways:
        assert gateways.complaint() == ""


def test_who_waits_is_told_when_it_is_closed(dead: str) -> None:
    gateways = Gateways((dead,))
    gateways.lost(dead, "no connection")
    told: list[Exception] = []

    def wait() -> None:
        try:
            gateways.choose((), deadline(60))
        except UnavailableError as error:
            told.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    gateways.close()
    waiting.join()
    assert len(told) == 1
