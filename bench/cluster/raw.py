"""obstore alone: each instance as an object of its own on the same gateway. What the store gives without a service.

One process, its requests at the same time on one event loop, its settings as they come.
"""

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

from obstore.store import S3Store

from bench.clients import fleet
from bench.clients.fleet import ClientError
from bench.cluster.on_bed import buckets, missing_bed, usage_below
from bench.generate import Instance
from bench.servers.process import Usage
from tests.testbed.bed import Bed
from tests.testbed.plan import S3

BELOW = ("osd", "rgw", "mon")
WARM_UP = 1.0  # seconds


class Obstore:
    """A bucket of its own, and a client for it."""

    name: ClassVar[str] = "obstore"
    what: ClassVar[str] = "obstore alone on the same gateway, an object an instance; nothing is indexed"

    def __init__(self, bed: Bed, bucket: str) -> None:
        self._bed = bed
        self._bucket = bucket

    @classmethod
    def missing(cls) -> str:
        """Say what of the bed is not installed."""
        return missing_bed()

    def usage(self) -> Usage:
        """CPU of Ceph's daemons: it has no process of its own but the client."""
        return usage_below(self._bed, BELOW)

    def put(self, instances: Sequence[Instance], at_once: int) -> fleet.Run:
        """Store each instance."""
        return fleet.run(_prepare_put, [_Part(self._bed.plan.s3, self._bucket, instances, at_once, 0.0)])

    def get(self, instances: Sequence[Instance], at_once: int, seconds: float) -> fleet.Run:
        """Read instances that were stored, in turn, for so many seconds; 0: each of them once."""
        return fleet.run(_prepare_get, [_Part(self._bed.plan.s3, self._bucket, instances, at_once, seconds)])


@contextmanager
def obstore_on(bed: Bed) -> Iterator[Obstore]:
    """With an empty bucket, which goes afterwards."""
    with buckets(bed, f"raw-{uuid.uuid4().hex[:12]}") as bucket:
        with bed.s3() as client:
            client.create_bucket(Bucket=bucket)
        yield Obstore(bed, bucket)


@dataclass(frozen=True, slots=True)
class _Part:
    s3: S3
    bucket: str
    instances: Sequence[Instance]
    at_once: int
    seconds: float

    def store(self) -> S3Store:
        """Made in the process that uses it."""
        return S3Store(
            self.bucket,
            endpoint=self.s3.endpoint,
            region="default",
            access_key_id=self.s3.access_key,
            secret_access_key=self.s3.secret_key,
            client_options={"allow_http": True},
        )


def _key(instance: Instance) -> str:
    return f"{instance.study}/{instance.series}/{instance.uid}"


def _prepare_put(part: _Part) -> Callable[[], list[float]]:
    bodies = [(_key(one), one.path.read_bytes()) for one in part.instances]
    store = part.store()

    async def put(number: int) -> None:
        key, body = bodies[number]
        await store.put_async(key, body)

    return lambda: asyncio.run(_all(put, len(bodies), part.at_once))


def _prepare_get(part: _Part) -> Callable[[], list[float]]:
    expected = [(_key(one), one.path.stat().st_size) for one in part.instances]
    store = part.store()

    async def get(number: int) -> None:
        key, size = expected[number % len(expected)]
        answer = await store.get_async(key)
        if len(await answer.bytes_async()) != size:
            raise ClientError(f"{key} has not the {size} bytes that were stored")

    if not part.seconds:
        return lambda: asyncio.run(_all(get, len(expected), part.at_once))
    asyncio.run(_for(get, WARM_UP, part.at_once))
    return lambda: asyncio.run(_for(get, part.seconds, part.at_once))


async def _all(action: Callable[[int], Awaitable[None]], count: int, at_once: int) -> list[float]:
    return await _work(action, iter(range(count)), at_once)


async def _for(action: Callable[[int], Awaitable[None]], seconds: float, at_once: int) -> list[float]:
    until = time.perf_counter() + seconds

    def numbers() -> Iterator[int]:
        number = 0
        while time.perf_counter() < until:
            yield number
            number += 1

    return await _work(action, numbers(), at_once)


async def _work(action: Callable[[int], Awaitable[None]], numbers: Iterator[int], at_once: int) -> list[float]:
    latencies: list[float] = []

    async def worker() -> None:
        for number in numbers:
            start = time.perf_counter()
            await action(number)
            latencies.append(time.perf_counter() - start)

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(worker())
    return latencies
