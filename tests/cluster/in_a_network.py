"""In a network of its own, which swallows packets: run by test_faults_network.py, and by nobody else.

What a part answers is swallowed while it goes on hearing what it is asked: what is done then, nobody is told.
"""

import logging
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cluster.clients import WINDOW, clients
from tests.cluster.replicas import Replicas
from tests.harness.loopback import set_loopback
from tests.testbed.daemon import environment

pytestmark = pytest.mark.timeout(600)

log = logging.getLogger(__name__)


@pytest.fixture(scope="session", autouse=True)
def network() -> None:
    """Loopback, whose packets are looked at by rules before they are anybody's."""
    set_loopback(up=True)
    _ip("rule", "add", "pref", "100", "lookup", "local")
    _ip("rule", "del", "pref", "0")


@contextmanager
def swallowed(*ports: int) -> Iterator[None]:
    """Nothing arrives that comes from these ports."""
    for number, port in enumerate(ports):
        _ip("rule", "add", "pref", str(10 + number), "sport", str(port), "ipproto", "tcp", "blackhole")
    try:
        for port in ports:
            _assert_silent(port)
        yield
    finally:
        for number in range(len(ports)):
            _ip("rule", "del", "pref", str(10 + number))


@pytest.fixture(scope="module")
def sent() -> dict[str, set[bytes]]:
    return {}


def test_answers_of_a_gateway_are_swallowed(three: Replicas, sent: dict[str, set[bytes]]) -> None:
    with clients(three, 80, sent) as running:
        with swallowed(three.bed.plan.s3.port):
            running.go_on(30)
        running.go_on(10)
    _tell("gateway swallowed", running.longest_outage())


def test_answers_of_a_replica_are_swallowed(three: Replicas, sent: dict[str, set[bytes]]) -> None:
    place = next(one for one in three.bed.plan.haproxy.replicas if one.name == "replica-2")
    with clients(three, 81, sent) as running:
        with swallowed(place.http_port, place.dimse_port):
            running.go_on(30)
        running.go_on(10)
    _tell("replica swallowed", running.longest_outage())


def test_answers_of_postgresql_are_swallowed(three: Replicas, sent: dict[str, set[bytes]]) -> None:
    with clients(three, 82, sent) as running:
        with swallowed(three.bed.plan.postgres.port):
            time.sleep(20)
        mended = time.monotonic()
        running.go_on(10)
    _tell("PostgreSQL swallowed", running.longest_outage(mended))


def test_everything_is_swallowed(three: Replicas, sent: dict[str, set[bytes]]) -> None:
    with clients(three, 83, sent) as running:
        set_loopback(up=False)
        with pytest.raises(OSError):  # noqa: PT011 - whichever it is without a network
            socket.create_connection(("127.0.0.1", three.bed.plan.s3.port), timeout=1).close()
        time.sleep(15)
        set_loopback(up=True)
        mended = time.monotonic()
        running.go_on(10)
    _tell("all swallowed", running.longest_outage(mended))


def _tell(what: str, seconds: float) -> None:
    log.info("%s: %.1f s", what, seconds)
    assert seconds <= WINDOW


def _assert_silent(port: int) -> None:
    """Nobody gets through to it, and nobody is told so."""
    with pytest.raises(TimeoutError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=10, env=environment())
