"""What a cluster holds: every row's bytes, read through the adapters of a replica; and what lies in its buckets."""

from contextlib import closing
from typing import Final

from imagerepo.adapters.objects_s3.objects import S3Objects
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.settings import load
from imagerepo.settings_cluster import Cluster
from tests.cluster.replicas import Replicas
from tests.harness.stored import Stored, compared

_ROWS: Final = (
    "SELECT n.name, i.uid, i.current, t.uid, coalesce(g.number, 0) FROM instance i "
    "JOIN institution n ON n.id = i.institution_id JOIN study t ON t.id = i.study_id "
    "LEFT JOIN gone g ON g.institution_id = i.institution_id AND g.uid = i.uid"
)


def walk(replicas: Replicas) -> Stored:
    """Read every version; one whose bytes are not those of its row fails the test."""
    shared = _shared(replicas)
    wanted = shared.database
    with (
        closing(Database(wanted.url, wanted.password_file, wanted.connections)) as database,
        closing(S3Store(shared.store)) as store,
    ):
        with database.reading() as connection:
            rows = connection.execute(_ROWS).fetchall()
        return compared(rows, PostgresIndex(database), S3Objects(store, lambda: 0))


def objects(replicas: Replicas, study: str) -> list[str]:
    """Keys of what lies in the bucket of a study of the institution `default`."""
    with closing(S3Store(_shared(replicas).store)) as store:
        return [one.key for one in store.list(store.bucket("default"), f"default/{study}/", "")]


def _shared(replicas: Replicas) -> Cluster:
    shared = load(replicas.settings, {}).cluster
    assert shared is not None
    return shared
