"""One writer of a cluster, in this process, over a database and a store of the test's choice."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.bundles.commits import BundleCommits
from imagerepo.adapters.bundles.journal import BundleJournal
from imagerepo.adapters.bundles.spool import Scratch
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.model.scope import Scope
from imagerepo.settings_cluster import Store
from tests.harness import databases, s3


@dataclass(frozen=True)
class Writing:
    """What a writer works with."""

    database: Database
    store: S3Store
    commits: BundleCommits

    def bytes_of(self, instance: str, version: int | None = None, institution: str = "default") -> bytes:
        found = PostgresIndex(self.database).version(Scope(institution, instance_uid=instance, version=version))
        return b"".join(self.store.read(where) for where in found.copy.ranges)

    def rows(self, statement: str, *values: object) -> list[tuple]:
        with self.database.reading() as connection:
            return connection.run(statement, values).fetchall()

    @property
    def journal(self) -> BundleJournal:
        return BundleJournal(self.database, self.store, None)


@contextmanager
def writing(url: str, settings: Store, folder: Path, name: str) -> Iterator[Writing]:
    """A writer of that name, which nobody else has had."""
    scratch = Scratch(folder / name, 0)
    scratch.path.mkdir(parents=True)
    with databases.opened(url) as database, s3.opened(settings) as store:
        commits = BundleCommits(database, store, scratch, name)
        try:
            yield Writing(database, store, commits)
        finally:
            commits.close()
