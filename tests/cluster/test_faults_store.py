"""The store is full, or says that it is asked too much, while clients store and read through the balancer."""

import json
import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.clients import SENDERS, WINDOW, Clients, clients
from tests.cluster.conftest import NAMES
from tests.cluster.replicas import Replicas, replicas
from tests.harness import s3
from tests.harness.gateway_relay import Harm, Relay
from tests.harness.receiver import await_
from tests.testbed.bed import Bed

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

log = logging.getLogger(__name__)

_POOL = "default.rgw.buckets.data"


@contextmanager
def with_store(bed: Bed, folder: Path, **store: Any) -> Iterator[Replicas]:
    """Three replicas whose store has other settings."""
    with replicas(bed, folder) as made:
        values = yaml.safe_load(made.settings.read_text(encoding="utf-8"))
        values["cluster"]["store"] |= store
        made.settings.write_text(yaml.safe_dump(values), encoding="utf-8")
        made.start(*NAMES)
        yield made


@contextmanager
def behind_relays(bed: Bed, folder: Path) -> Iterator[tuple[Replicas, list[Relay]]]:
    """Three replicas, and what stands before each gateway."""
    with ExitStack() as opened:
        ports = bed.plan.s3.port, bed.plan.s3.lifecycle_port
        relays = [opened.enter_context(Relay(f"http://127.0.0.1:{port}").running()) for port in ports]
        endpoints = [one.url for one in relays]
        yield opened.enter_context(with_store(bed, folder, endpoints=endpoints)), relays


def test_one_gateway_that_is_asked_too_much_is_noticed_by_nobody(bed: Bed, tmp_path: Path) -> None:
    sent: dict[str, set[bytes]] = {}
    with behind_relays(bed, tmp_path) as (three, relays), clients(three, 70, sent) as running:
        asked = relays[0].asked
        relays[0].always(Harm.SLOW_DOWN)
        running.go_on(20)
        assert relays[0].asked > asked  # somebody was refused
        relays[0].always(None)
        running.go_on(5)
    log.info("one gateway slow: %.1f s", running.longest_outage())
    assert running.longest_outage() <= WINDOW


def test_gateways_that_are_all_asked_too_much_are_asked_again(bed: Bed, tmp_path: Path) -> None:
    sent: dict[str, set[bytes]] = {}
    with behind_relays(bed, tmp_path) as (three, relays), clients(three, 71, sent) as running:
        for seconds in (2, 20):
            asked = [one.asked for one in relays]
            for one in relays:
                one.always(Harm.SLOW_DOWN)
            time.sleep(seconds)
            assert all(one.asked > before for one, before in zip(relays, asked, strict=True))
            for one in relays:
                one.always(None)
            mended = time.monotonic()
            running.go_on(10)
            log.info("all gateways slow for %d s: %.1f s", seconds, running.longest_outage(mended))
            assert running.longest_outage(mended) <= WINDOW


def test_a_user_whose_quota_is_full_reads_on_and_stores_once_there_is_room(bed: Bed, tmp_path: Path) -> None:
    sent: dict[str, set[bytes]] = {}
    with s3.user(bed, max_size="100M") as (access, secret):
        (tmp_path / "secret").write_text(secret, encoding="ascii")
        words = {"access_key": access, "secret_key_file": str(tmp_path / "secret")}
        with with_store(bed, tmp_path, **words) as three, clients(three, 72, sent) as running:
            _set_quota(bed, access, "1K")
            _await_full(running)
            time.sleep(15)
            _set_quota(bed, access, "1G")
            mended = time.monotonic()
            running.go_on(10)
    _assert_read_on("quota of a user", running, mended)


def test_a_pool_that_is_full_is_read_and_stored_to_once_there_is_room(bed: Bed, tmp_path: Path) -> None:
    sent: dict[str, set[bytes]] = {}
    with with_store(bed, tmp_path) as three, clients(three, 73, sent) as running:
        _limit_pool(bed, 1024)
        try:
            await_(lambda: _pool_is_full(bed))
            _await_full(running)
            time.sleep(20)
        finally:
            _limit_pool(bed, 0)
        await_(lambda: not _pool_is_full(bed))
        mended = time.monotonic()
        running.go_on(10)
    bed.up()
    _assert_read_on("quota of a pool", running, mended)


def _await_full(running: Clients) -> None:
    """Until most who store have failed; some are served, with what is there already."""
    await_(lambda: running.load.outages.under_way > SENDERS // 2, 90)


def _assert_read_on(what: str, running: Clients, mended: float) -> None:
    reading, storing = running.readers.outages.longest(), running.load.outages.longest(mended)
    log.info("%s: %.1f s to store, %.1f s to read", what, storing, reading)
    assert reading <= WINDOW
    assert storing <= WINDOW


def _set_quota(bed: Bed, access_key: str, size: str) -> None:
    user = json.loads(bed.ceph.run("radosgw-admin", "user", "info", "--access-key", access_key))["user_id"]
    bed.ceph.run("radosgw-admin", "quota", "set", "--quota-scope", "user", "--uid", user, "--max-size", size)


def _limit_pool(bed: Bed, size: int) -> None:
    bed.ceph.run("ceph", "osd", "pool", "set-quota", _POOL, "max_bytes", str(size))


def _pool_is_full(bed: Bed) -> bool:
    pools = bed.ceph.ask("osd", "pool", "ls", "detail")
    return any("full" in one["flags_names"].split(",") for one in pools if one["pool_name"] == _POOL)
