"""Faults of all parts while clients store and read through the balancer: nothing acknowledged is lost or altered.

Clients try again as DICOM senders do. Each is served again within the window: from the fault on where others can do
what the broken part did, else from when it is mended.
"""

import logging
import random
import time
from collections.abc import Callable

import pytest

from tests.cluster.clients import WINDOW, clients
from tests.cluster.replicas import Replicas
from tests.testbed.bed import Bed

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

log = logging.getLogger(__name__)


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
            running.await_progress()
            three.start(name)
    assert running.longest_outage() <= WINDOW


def test_a_replica_that_is_paused_for_a_minute(three: Replicas, sent: dict[str, set[bytes]]) -> None:
    with clients(three, 30, sent) as running:
        three.servers["replica-2"].freeze()
        running.go_on(60)
        three.servers["replica-2"].thaw()
        three.await_up(three.servers)
        running.await_progress()
    log.info("paused replica: %.1f s", running.longest_outage())
    assert running.longest_outage() <= WINDOW


_TOGETHER: dict[str, tuple[str, Callable[[Bed, str], None], float]] = {
    "gateway killed": ("rgw.main", Bed.kill, 15.0),
    "gateway paused": ("rgw.main", Bed.pause, 30.0),
    "an OSD host lost": ("osd.1", Bed.kill, 40.0),
    "a data center lost": ("dc:dc-b", Bed.kill, 40.0),
    "a data center ended": ("dc:dc-b", Bed.stop, 40.0),
}
"""What others can do as well: name, how it ends, seconds until it comes back."""


@pytest.mark.parametrize("fault", _TOGETHER)
def test_a_part_is_away_that_others_stand_in_for(three: Replicas, sent: dict[str, set[bytes]], fault: str) -> None:
    name, begin, seconds = _TOGETHER[fault]
    with clients(three, 40 + list(_TOGETHER).index(fault), sent) as running:
        begin(three.bed, name)
        running.go_on(seconds)
        _mend(three.bed, name, begin)
        running.go_on(10)
    three.bed.up()
    three.await_up(three.servers)
    log.info("%s: %.1f s", fault, running.longest_outage())
    assert running.longest_outage() <= WINDOW


_ALONE: dict[str, tuple[str, Callable[[Bed, str], None], float]] = {
    "PostgreSQL restarted": ("postgres", Bed.stop, 0.0),
    "PostgreSQL killed": ("postgres", Bed.kill, 0.0),
    "PostgreSQL away": ("postgres", Bed.stop, 15.0),
    "PostgreSQL paused": ("postgres", Bed.pause, 12.0),
}
"""What all wait for, likewise."""


@pytest.mark.parametrize("fault", _ALONE)
def test_a_part_is_away_that_all_need(three: Replicas, sent: dict[str, set[bytes]], fault: str) -> None:
    name, begin, seconds = _ALONE[fault]
    with clients(three, 50 + list(_ALONE).index(fault), sent) as running:
        begin(three.bed, name)
        time.sleep(seconds)
        _mend(three.bed, name, begin)
        mended = time.monotonic()
        running.go_on(10)
    three.await_up(three.servers)
    log.info("%s: %.1f s", fault, running.longest_outage(mended))
    assert running.longest_outage(mended) <= WINDOW


def test_both_gateways_away_and_back(three: Replicas, sent: dict[str, set[bytes]]) -> None:
    with clients(three, 60, sent) as running:
        for name in ("rgw.main", "rgw.lc"):
            three.bed.kill(name)
        time.sleep(10)
        for name in ("rgw.main", "rgw.lc"):
            three.bed.start(name)
        mended = time.monotonic()
        running.go_on(10)
    three.await_up(three.servers)
    log.info("both gateways: %.1f s", running.longest_outage(mended))
    assert running.longest_outage(mended) <= WINDOW


def _mend(bed: Bed, name: str, begun: Callable[[Bed, str], None]) -> None:
    if begun is Bed.pause:
        bed.resume(name)
    else:
        bed.start(name)
