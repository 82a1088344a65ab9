"""Clients that store and read through the balancer while something is broken, and try again as DICOM clients do.

At the end all that was acknowledged is there as it was sent, no row is without bytes, and nobody was without an answer
for longer than the window.
"""

import json
import logging
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from tests.cluster import stored
from tests.cluster.replicas import Replicas
from tests.harness.load import Load, assert_survived
from tests.harness.outages import Outages
from tests.harness.receiver import await_
from tests.harness.web_client import FAILURES, WebClient

log = logging.getLogger(__name__)

WINDOW: Final = 10.0
"""Seconds within which a client is served again."""
_DIMSE, _STOW, _READERS = 3, 2, 2
SENDERS: Final = _DIMSE + _STOW
_SIZES: Final = (2048, 30_000)  # bytes
_PAUSE: Final = 0.1  # seconds between what one sender sends


@dataclass
class Readers:
    """Clients that read what was acknowledged, by QIDO-RS and WADO-RS, each on new connections."""

    port: int
    load: Load
    wrong: list[str] = field(default_factory=list[str])
    reads: int = 0
    outages: Outages = field(default_factory=Outages)
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
            begun = time.monotonic()
            try:
                with WebClient(self.port, timeout=30) as client:
                    at = f"/dicom-web/studies/{file.study}/series/{file.series}/instances/{file.instance}"
                    status, body = client.get(at)
                    if status == 404:
                        self.wrong.append(f"{file.instance} is not found")
                    elif status == 200 and not any(one in body for one in self.load.sent[file.instance]):
                        self.wrong.append(f"{file.instance} has other bytes")
                    searched, body = client.get(f"/dicom-web/instances?SOPInstanceUID={file.instance}")
                    if searched == 204 or (searched == 200 and not json.loads(body)):
                        self.wrong.append(f"{file.instance} is not searched")
            except FAILURES:
                self.outages.failed(begun)
                time.sleep(0.1)
                continue
            if (status, searched) == (200, 200):
                self.reads += 1
                self.outages.succeeded(begun)
            else:
                self.outages.failed(begun)
                time.sleep(0.1)


@dataclass
class Clients:
    """Senders and readers through HAProxy."""

    load: Load
    readers: Readers

    def await_progress(self, within: float = WINDOW) -> None:
        """Wait until something more is acknowledged and read."""
        until = time.monotonic() + within
        acknowledged, reads = len(self.load.acknowledged), self.readers.reads
        while len(self.load.acknowledged) == acknowledged or self.readers.reads == reads:
            assert time.monotonic() < until, f"{len(self.load.acknowledged) - acknowledged} stored in {within:.0f} s"
            time.sleep(0.02)

    def go_on(self, seconds: float) -> None:
        """Let them work, who have to get on all the time."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.await_progress()

    def longest_outage(self, mended: float = 0.0) -> float:
        """Of any of them, in seconds; what all have to wait for counts from when it was mended."""
        return max(self.load.outages.longest(mended), self.readers.outages.longest(mended))


@contextmanager
def clients(cluster: Replicas, seed: int, sent: dict[str, set[bytes]]) -> Iterator[Clients]:
    """Store and read meanwhile; at the end all that was acknowledged is there, as it was sent."""
    load = Load(seed, _SIZES, _PAUSE, sent=sent)
    made = Clients(load, Readers(cluster.http, load))
    load.start(cluster, dimse=_DIMSE, stow=_STOW)
    made.readers.start(_READERS)
    load.await_acknowledged(20)
    try:
        yield made
        load.await_acknowledged(len(load.acknowledged) + 20, 60)
        await_(lambda: not load.outages.under_way and not made.readers.outages.under_way)
    finally:
        load.end()
        made.readers.end()
    log.info("%d acknowledged, %d read", len(load.acknowledged), made.readers.reads)
    assert made.readers.wrong == []
    assert_survived(load, load.acknowledged, stored.walk(cluster).of(sent))
