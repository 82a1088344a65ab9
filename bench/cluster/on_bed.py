"""What servers need that stand on the test bed: a database, buckets, and what the bed's daemons use for them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self, TypeVar

from bench.servers.process import Nagle, Server, Usage, usage_of
from tests.testbed.bed import Bed, require_programs
from tests.testbed.daemon import BedError

AT_ONCE = 1000
"""Objects that one request deletes."""


class OnBed(Server):
    """A server above daemons of the bed. What it has there goes when its context ends."""

    below: ClassVar[tuple[str, ...]]
    """Daemons that work for it, as the beginnings of their names."""

    def __init__(self, folder: Path, bed: Bed, nagle: Nagle = Nagle.OFF) -> None:
        super().__init__(folder, nagle)
        self.bed = bed
        self.lasting = ExitStack()
        """What is undone when the server has ended."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            super().__exit__(kind, error, trace)
        finally:
            self.lasting.close()

    def __enter__(self) -> Self:
        try:
            return super().__enter__()
        except BaseException:
            self.lasting.close()
            raise

    def usage(self) -> Usage:
        """CPU of the daemons too; memory of its own processes alone, since OSDs keep objects in memory."""
        own = self.own_usage()
        return Usage(own.cpu + usage_below(self.bed, self.below).cpu, own.peak_resident)


AnyOnBed = TypeVar("AnyOnBed", bound=OnBed)


def usage_below(bed: Bed, names: tuple[str, ...]) -> Usage:
    """What daemons of the bed have used."""
    return usage_of({pid for one in bed.daemons() if one.name.startswith(names) and (pid := one.pid())})


def missing_bed() -> str:
    """Say what the bed needs that is not installed; empty when nothing."""
    try:
        require_programs()
    except BedError as error:
        return str(error)
    return ""


@contextmanager
def buckets(bed: Bed, prefix: str) -> Iterator[str]:
    """Remove the buckets of that prefix afterwards, with all that is in them: the bed has them in memory."""
    try:
        yield prefix
    finally:
        with bed.s3() as client:
            for bucket in (one["Name"] for one in client.list_buckets()["Buckets"]):
                if bucket.startswith(prefix):
                    keys = keys_in(bed, bucket)
                    for start in range(0, len(keys), AT_ONCE):
                        named = [{"Key": key} for key in keys[start : start + AT_ONCE]]
                        client.delete_objects(Bucket=bucket, Delete={"Objects": named, "Quiet": True})
                    client.delete_bucket(Bucket=bucket)


def keys_in(bed: Bed, bucket: str) -> list[str]:
    """All that is in a bucket."""
    with bed.s3() as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [one["Key"] for page in pages for one in page.get("Contents", ())]
