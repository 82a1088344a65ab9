"""Every implementation of the ports behind one face."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.bundles.change_feed import BundleChangeFeed
from imagerepo.adapters.bundles.generation import Generation
from imagerepo.adapters.index_sql.metadata_cache import Room, SqlMetadataCache
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.memory import (
    Memory,
    MemoryChangeFeed,
    MemoryCommits,
    MemoryIndex,
    MemoryMetadataCache,
    MemoryObjects,
)
from imagerepo.adapters.objects_s3.objects import S3Objects
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.adapters.segments import folder as data_folder
from imagerepo.adapters.segments.change_feed import SegmentChangeFeed
from imagerepo.adapters.segments.commits import SegmentCommits
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.ports.commits import Commits
from imagerepo.ports.feed import ChangeFeed
from imagerepo.ports.index import Index, MetadataCache
from imagerepo.ports.objects import Objects
from imagerepo.settings import Storage
from tests.harness import databases, s3
from tests.harness.committing import writing
from tests.testbed.shared import shared_bed

WRITERS = ("one", "two")


@dataclass(frozen=True)
class Archive:
    """Two writers and the reading side of one place."""

    commits: Commits
    other: Commits
    objects: Objects
    index: Index
    cache: MetadataCache
    changes: ChangeFeed

    def bytes_of(self, instance: str, version: int | None = None, institution: str = "default") -> bytes:
        """A version's file."""
        return self.read(self.index.version(Scope(institution, instance_uid=instance, version=version)))

    def read(self, version: Version) -> bytes:
        """A version's file."""
        return b"".join(self.objects.read(where) for where in version.copy.ranges)


Opening = Callable[[Path], AbstractContextManager[Archive]]


@contextmanager
def in_memory(_data: Path):
    memory = Memory()
    commits = MemoryCommits(memory)
    reads = MemoryObjects(memory), MemoryIndex(memory), MemoryMetadataCache()
    yield Archive(commits, MemoryCommits(memory), *reads, MemoryChangeFeed(memory))


@contextmanager
def in_segments(data: Path, storage: Storage = Storage(reserve=0)):  # noqa: B008 - frozen
    """On a data folder, made ready first; may be opened again on the same one."""
    data.mkdir(exist_ok=True)
    folder, _ = data_folder.make_ready(data, WRITERS)
    writers = [SegmentCommits(folder.place(name, storage), folder.state) for name in WRITERS]
    try:
        reads = LocalObjects(data), SqlIndex(data), SqlMetadataCache(data, Room(1 << 30, 0))
        with closing(SegmentChangeFeed(data, folder.state)) as changes:
            yield Archive(*writers, *reads, changes)
    finally:
        for one in writers:
            one.close()


@contextmanager
def in_cluster(data: Path):
    """On the session's bed, with a database of its own; its objects lie beside those of other tests."""
    data.mkdir(exist_ok=True)
    with ExitStack() as opened:
        url = opened.enter_context(databases.with_schema())
        settings = s3.settings(shared_bed(), data, bucket_prefix="conformance")
        one, two = (opened.enter_context(writing(url, settings, data, name)) for name in WRITERS)
        objects = S3Objects(one.store, Generation(one.database).now)
        cache = SqlMetadataCache(data, Room(1 << 30, 0))
        reads = objects, PostgresIndex(one.database), cache
        yield Archive(one.commits, two.commits, *reads, BundleChangeFeed(one.database))
