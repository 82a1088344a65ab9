"""Objects in S3 while gateways of a real Ceph die, hang and come back."""

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagerepo.adapters.objects_s3.objects import S3Objects
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.errors import UnavailableError
from imagerepo.model.instance import Range
from imagerepo.settings_cluster import Store
from tests.harness import s3
from tests.testbed.bed import Bed
from tests.testbed.plan import HOST
from tests.testbed.shared import shared_bed

pytestmark = pytest.mark.timeout(300)

INSTITUTION = "north"
_BODY = os.urandom(128 << 10)
_WRITERS = 4
_GATEWAY = "rgw.main"


@pytest.fixture(scope="module")
def bed() -> Bed:
    return shared_bed()


@pytest.fixture(scope="module")
def settings(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A bucket is made once: gateways are told of it, and one that was killed is waited for."""
    made = s3.settings(bed, tmp_path_factory.mktemp("s3"))
    with s3.opened(made) as store:
        store.check([INSTITUTION])
        yield made
        s3.empty(store, INSTITUTION)


@pytest.fixture
def store(settings: Store) -> Iterator[S3Store]:
    """On one gateway."""
    with s3.opened(settings) as opened:
        yield opened


@pytest.fixture
def store_of_two(bed: Bed, settings: Store) -> Iterator[S3Store]:
    """On two gateways of one zone."""
    other = f"http://{HOST}:{bed.plan.s3.lifecycle_port}"
    with s3.opened(settings.model_copy(update={"endpoints": (*settings.endpoints, other)})) as opened:
        yield opened


@contextmanager
def mended(bed: Bed, *names: str) -> Iterator[None]:
    """Whatever is done to these daemons, they run afterwards."""
    try:
        yield
    finally:
        for name in names:
            bed.resume(name)
            bed.start(name)


def body_of(number: int) -> bytes:
    return number.to_bytes(8) + _BODY


def put(store: S3Store, number: int) -> Range:
    place = store.put(f"{INSTITUTION}/{uuid.uuid4()}", [number.to_bytes(8), _BODY], institution=INSTITUTION)
    return Range(place.store, place.key, 0, 8 + len(_BODY))


class Traffic:
    """Writers that read back at once what they have stored, until they are told to end."""

    def __init__(self, store: S3Store) -> None:
        self.store = store
        self.stored: dict[int, Range] = {}
        self.errors: list[UnavailableError] = []
        self._ended = threading.Event()

    def __call__(self, writer: int) -> None:
        number = writer
        while not self._ended.is_set():
            number += _WRITERS
            try:
                where = self.stored[number] = put(self.store, number)
                assert self.store.read(where) == body_of(number)
            except UnavailableError as error:
                self.errors.append(error)

    def wait_for_more(self, count: int) -> None:
        until, goal = time.monotonic() + 120, len(self.stored) + count
        while len(self.stored) < goal:
            assert time.monotonic() < until, self.errors
            time.sleep(0.02)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        with ThreadPoolExecutor(_WRITERS) as pool:
            writers = [pool.submit(self, writer) for writer in range(_WRITERS)]
            try:
                self.wait_for_more(20)
                yield
                self.wait_for_more(20)
            finally:
                self._ended.set()
            for one in writers:
                one.result()

    def assert_whole(self) -> None:
        for number, where in self.stored.items():
            assert self.store.read(where) == body_of(number)


def test_a_gateway_that_is_killed_and_comes_back_costs_nobody_an_error(bed: Bed, store: S3Store) -> None:
    traffic = Traffic(store)
    with mended(bed, _GATEWAY), traffic.going_on():
        for _ in range(2):
            bed.kill(_GATEWAY)
            bed.start(_GATEWAY)
            traffic.wait_for_more(20)
    assert traffic.errors == []
    traffic.assert_whole()


def test_another_gateway_takes_over_from_one_that_is_killed_until_it_is_back(bed: Bed, store_of_two: S3Store) -> None:
    traffic = Traffic(store_of_two)
    first, second = _GATEWAY, "rgw.lc"
    with mended(bed, first, second), traffic.going_on():
        bed.kill(first)
        traffic.wait_for_more(50)
        bed.start(first)
        bed.kill(second)
        traffic.wait_for_more(50)
        bed.start(second)
    assert traffic.errors == []
    traffic.assert_whole()


def test_another_gateway_takes_over_from_one_that_is_paused(bed: Bed, store_of_two: S3Store, tmp_path: Path) -> None:
    large, name = tmp_path / "large", f"{INSTITUTION}/{uuid.uuid4()}"
    large.write_bytes(os.urandom(20 << 20))
    traffic = Traffic(store_of_two)
    with mended(bed, _GATEWAY), traffic.going_on():
        bed.pause(_GATEWAY)
        traffic.wait_for_more(50)
        place = store_of_two.put_large(name, large, institution=INSTITUTION)
        bed.resume(_GATEWAY)
    assert traffic.errors == []
    traffic.assert_whole()
    assert store_of_two.read(Range(place.store, place.key, 0, 20 << 20)) == large.read_bytes()


@pytest.mark.long
def test_nothing_waits_for_ever_for_the_only_gateway(bed: Bed, store: S3Store, tmp_path: Path) -> None:
    where, bucket = put(store, 1), store.bucket(INSTITUTION)
    large = tmp_path / "large"
    large.write_bytes(os.urandom(10 << 20))
    objects = S3Objects(store, lambda: 0)
    asked: list[Callable[[], object]] = [
        lambda: put(store, 2),
        lambda: store.put_large(f"{INSTITUTION}/large", large, institution=INSTITUTION),
        lambda: objects.read(where),
        lambda: list(store.list(bucket, "", "")),
        lambda: store.delete(bucket, [f"{INSTITUTION}/none"]),
    ]

    def refused(ask: Callable[[], object]) -> str:
        with pytest.raises(UnavailableError) as told:
            ask()
        return str(told.value)

    with mended(bed, _GATEWAY):
        bed.pause(_GATEWAY)
        objects.expect([where])
        with ThreadPoolExecutor(len(asked)) as pool:
            for said in pool.map(refused, asked):
                assert bed.plan.s3.endpoint in said
        assert "cluster.store.endpoints" in store.complaint()
        bed.resume(_GATEWAY)
        while store.complaint():
            time.sleep(0.05)
        assert objects.read(where) == body_of(1)
        put(store, 3)
        store.put_large(f"{INSTITUTION}/large after", large, institution=INSTITUTION)


@pytest.mark.long
def test_an_osd_host_that_is_lost_costs_nobody_an_error(bed: Bed, store: S3Store) -> None:
    traffic = Traffic(store)
    with mended(bed, "osd.1"), traffic.going_on():
        bed.kill("osd.1")
        traffic.wait_for_more(100)
    bed.ceph.await_healthy()
    assert traffic.errors == []
    traffic.assert_whole()


def test_a_store_that_is_closed_lets_go_of_who_waits(bed: Bed, store: S3Store) -> None:
    where = put(store, 1)
    with mended(bed, _GATEWAY), ThreadPoolExecutor(1) as pool:
        bed.kill(_GATEWAY)
        waiting = pool.submit(store.read, where)
        while not store.complaint():
            time.sleep(0.05)
        store.close()
        with pytest.raises(UnavailableError):
            waiting.result()
