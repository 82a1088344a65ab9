"""Compaction of one series, in this process; and what a cluster holds before and after."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from imagerepo.adapters.bundles import sweeping
from imagerepo.adapters.bundles.compaction import Compactor
from imagerepo.adapters.bundles.reclaim import Reclaimer
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.database import Database
from imagerepo.model import checksum
from imagerepo.model.uids import Uid
from tests.harness.committing import Writing
from tests.harness.dicom_file import DicomFile, uid
from tests.harness.requests import store
from tests.testbed.s3 import client
from tests.testbed.shared import shared_bed

STUDY: Final = uid(1)
SERIES: Final = uid(1, 1)
MOST: Final = 1 << 20
"""Bytes of an object; those below a quarter of it are put together."""
_AT_ONCE: Final = timedelta(hours=-3)  # later than all that is to go some day


def compactor(database: Database, store: S3Store, most: int = MOST) -> Compactor:
    """One whose objects of which copies were made go at once."""
    return Compactor(database, store, most, timedelta(0))


def compacted(database: Database, store: S3Store, most: int = MOST) -> dict[int, str]:
    """Do all that the series needs; what could not be copied, and why."""
    working = compactor(database, store, most)
    damaged: dict[int, str] = {}
    while True:
        progress = working.step("default", Uid(STUDY), Uid(SERIES), damaged)
        damaged = dict(progress.damaged)
        if progress.is_done:
            return damaged


def compact(one: Writing) -> dict[int, str]:
    """Likewise, by a writer's means."""
    return compacted(one.database, one.store)


def store_singly(one: Writing, files: Sequence[DicomFile]) -> None:
    """Each in a commit of its own, and so in an object."""
    sweeping.since_when(one.database)  # a copy of the template is another database
    for file in files:
        (result,) = one.commits.commit([store(file)])
        assert result.error is None


def reclaim(one: Writing) -> None:
    """Have all go that is to go some day."""
    while Reclaimer(one.database, one.store).work(_AT_ONCE):
        pass


def listed(one: Writing) -> list[str]:
    """Keys of what lies in the bucket."""
    return [found.key for found in one.store.list(one.store.bucket("default"), "default/", "")]


def is_sound(one: Writing) -> bool:
    """Whether objects count the versions that they have, and each version has its bytes."""
    wrong = one.rows(
        'SELECT o.key FROM object o LEFT JOIN (SELECT object_id, count(*) AS n FROM "range" GROUP BY object_id) r '
        "ON r.object_id = o.id WHERE o.live <> coalesce(r.n, 0) OR (o.live = 0) <> (o.gone_at IS NOT NULL)"
    )
    rows = one.rows("SELECT i.uid, v.number, v.crc32 FROM version v JOIN instance i ON i.id = v.instance_id")
    return not wrong and all(checksum.crc32(one.bytes_of(uid_, number), 0) == crc32 for uid_, number, crc32 in rows)


def has(one: Writing, files: Sequence[DicomFile]) -> bool:
    """Whether the bytes of these are what they were."""
    return all(one.bytes_of(file.instance) == file.part10 for file in files)


def overwrite(one: Writing, instance: str, at: int) -> None:
    """Change a byte of the object of an instance, as a store might that loses bits."""
    ((bucket, key),) = one.rows(
        'SELECT o.store, o.key FROM object o JOIN "range" r ON r.object_id = o.id '
        "JOIN instance i ON i.id = r.instance_id WHERE i.uid = %s",
        instance,
    )
    with client(shared_bed().plan.s3) as made:
        with made.get_object(Bucket=bucket, Key=key)["Body"] as body:
            whole = bytearray(body.read())
        whole[at] ^= 1
        made.put_object(Bucket=bucket, Key=key, Body=bytes(whole))
