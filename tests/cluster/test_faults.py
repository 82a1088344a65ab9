"""Faults of all parts while clients store and read through the balancer: nothing acknowledged is lost or altered.

Clients try again as DICOM senders do. How long they get no answer that helps is measured from the fault on, and from
its end: within the window somebody's request has to succeed again.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from tests.cluster import stored
from tests.cluster.replicas import Replicas
from tests.harness.dicom_file import data_set_of
from tests.harness.load import Load, assert_survived
from tests.harness.web_client import FAILURES, WebClient
from tests.testbed.bed import Bed

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

log = logging.getLogger(__name__)

_SIZES = (2048, 30_000)  # bytes
_PAUSE = 0.1  # seconds between what one sender sends
_WINDOW = 10.0  # seconds


@dataclass
class Readers:
    """Clients that read what was acknowledged, by QIDO-RS and /image, each on new connections."""

    port: int
    load: Load
    wrong: list[str] = field(default_factory=list[str])
    reads: int = 0
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def start(self, count: int) -> None:
        self._threads = [threading.Thread(target=self._read, args=(seed,), daemon=True) for seed in range(count)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(90)
            assert not thread.is_alive()

    def _read(self, seed: int) -> None:
        rng = random.Random(seed)
        while not self._ending.is_set():
            known = self.load.snapshot()
            if not known:
                time.sleep(0.05)
                continue
            file = rng.choice(known)
            try:
                with WebClient(self.port, timeout=30) as client:
                    status, body = client.get(f"/image/{file.instance}")
                    if status == 404:
                        self.wrong.append(f"{file.instance} is not found")
                    elif status == 200 and data_set_of(body) not in self.load.sent[file.instance]:
                        self.wrong.append(f"{file.instance} has other bytes")
                    self.reads += status == 200
                    found = f"/dicom-web/instances?SOPInstanceUID={file.instance}"
                    status, body = client.get(found)
                    if status == 204 or (status == 200 and not json.loads(body)):
                        self.wrong.append(f"{file.instance} is not searched")
            except FAILURES:
                time.sleep(0.1)


@dataclass
class Clients:
    """Senders and readers through HAProxy."""

    cluster: Replicas
    load: Load
    readers: Readers

    def await_progress(self, within: float) -> float:
        """Wait until something more is acknowledged and read; after how many seconds it was."""
        begun = time.monotonic()
        acknowledged, reads = len(self.load.acknowledged), self.readers.reads
        while len(self.load.acknowledged) == acknowledged or self.readers.reads == reads:
            waited = time.monotonic() - begun
            assert waited < within, f"{len(self.load.acknowledged) - acknowledged} stored in {waited:.0f} s"
            time.sleep(0.02)
        return time.monotonic() - begun


@contextmanager
def clients(cluster: Replicas, seed: int, sent: dict[str, set[bytes]]) -> Iterator[Clients]:
    """Store and read meanwhile; at the end all that was acknowledged is there, as it was sent."""
    load = Load(seed, _SIZES, _PAUSE, sent=sent)
    made = Clients(cluster, load, Readers(cluster.http, load))
    load.start(cluster, dimse=3, stow=2)
    made.readers.start(2)
    load.await_acknowledged(20)
    yield made
    load.await_acknowledged(len(load.acknowledged) + 20, 60)
    load.end()
    made.readers.end()
    log.info("%d acknowledged, %.1f s without any at the most", len(load.acknowledged), load.longest_silence())
    assert made.readers.wrong == []
    assert_survived(load, load.acknowledged, stored.walk(cluster).of(sent))


@pytest.fixture(scope="module")
def sent() -> dict[str, set[bytes]]:
    return {}


@pytest.mark.parametrize("seed", range(20, 26))
def test_a_replica_killed_at_any_moment(three: Replicas, sent: dict[str, set[bytes]], seed: int) -> None:
    rng = random.Random(seed)
    with clients(three, seed, sent) as running:
        for name in rng.sample(sorted(three.servers), 2):
            time.sleep(rng.random() * 2)
            three.kill(name)
            running.await_progress(_WINDOW)
            three.start(name)


def test_a_replica_that_is_paused_for_a_minute(three: Replicas, sent: dict[str, set[bytes]]) -> None:
    with clients(three, 30, sent) as running:
        three.servers["replica-2"].freeze()
        running.await_progress(_WINDOW)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            running.await_progress(_WINDOW)
        three.servers["replica-2"].thaw()
        three.await_up(three.servers)
        running.await_progress(_WINDOW)


_FAULTS: dict[str, tuple[str, Callable[[Bed, str], None], float]] = {
    "PostgreSQL restarted": ("postgres", Bed.stop, 0.0),
    "PostgreSQL killed": ("postgres", Bed.kill, 0.0),
    "PostgreSQL away": ("postgres", Bed.stop, 15.0),
    "PostgreSQL paused": ("postgres", Bed.pause, 12.0),
    "gateway killed": ("rgw.main", Bed.kill, 10.0),
    "gateway paused": ("rgw.main", Bed.pause, 15.0),
    "an OSD host lost": ("osd.1", Bed.kill, 5.0),
    "a data center lost": ("dc:dc-b", Bed.stop, 5.0),
}


@pytest.mark.parametrize("fault", _FAULTS)
def test_what_replicas_share_is_away_for_a_while(three: Replicas, sent: dict[str, set[bytes]], fault: str) -> None:
    name, begin, seconds = _FAULTS[fault]
    with clients(three, 40 + list(_FAULTS).index(fault), sent) as running:
        begin(three.bed, name)
        time.sleep(seconds)
        if begin is Bed.pause:
            three.bed.resume(name)
        else:
            three.bed.start(name)
        running.await_progress(_WINDOW)
    three.bed.up()
    three.await_up(three.servers)


def test_both_gateways_away_and_back(three: Replicas, sent: dict[str, set[bytes]]) -> None:
    with clients(three, 60, sent) as running:
        for name in ("rgw.main", "rgw.lc"):
            three.bed.kill(name)
        time.sleep(10)
        for name in ("rgw.main", "rgw.lc"):
            three.bed.start(name)
        running.await_progress(_WINDOW)
    three.await_up(three.servers)
