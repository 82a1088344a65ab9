"""Stores on the test bed's gateways."""

import json
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import obstore

from imagerepo.adapters.objects_s3.access import Access, Way
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.errors import UnavailableError
from imagerepo.settings_cluster import Store
from tests.testbed.bed import Bed


def settings(bed: Bed, folder: Path, **other: object) -> Store:
    """As a replica has them, with buckets of its own."""
    secret = folder / f"secret-{uuid.uuid4()}"
    secret.write_text(str(other.pop("secret_key", bed.plan.s3.secret_key)), encoding="ascii")
    words = {
        "endpoints": (bed.plan.s3.endpoint,),
        "access_key": bed.plan.s3.access_key,
        "secret_key_file": secret,
        "bucket_prefix": f"t-{uuid.uuid4().hex[:12]}",
    }
    return Store.model_validate(words | other)


@contextmanager
def opened(of: Store) -> Iterator[S3Store]:
    """A store; what is in its buckets stays until the bed goes, or until `empty`."""
    store = S3Store(of)
    try:
        yield store
    finally:
        store.close()


def empty(store: S3Store, institution: str) -> None:
    """Remove all that an institution has there: the bed keeps it in memory."""
    bucket = store.bucket(institution)
    with suppress(UnavailableError):  # it has no bucket
        store.delete(bucket, [one.key for one in store.list(bucket, "", "")])


def put_raw(of: Store, bucket: str, key: str, body: bytes) -> None:
    """Write over an object, as somebody with the keys of S3 may."""
    with closing(Access(of)) as access:
        obstore.put(access.bytes_of(of.endpoints[0], bucket, Way.WRITING), key, body)


def raw(of: Store, bucket: str, key: str) -> bytes:
    """An object's bytes."""
    with closing(Access(of)) as access:
        return bytes(obstore.get(access.bytes_of(of.endpoints[0], bucket, Way.READING), key).bytes())


@contextmanager
def user(bed: Bed, **quota: str) -> Iterator[tuple[str, str]]:
    """Access key and secret key of a user, with a quota if one is given (`max_size`, `max_objects`)."""
    name, access, secret = f"t-{uuid.uuid4().hex[:12]}", uuid.uuid4().hex[:20], uuid.uuid4().hex
    run = bed.ceph.run
    keys = ("--access-key", access, "--secret-key", secret)
    made = json.loads(run("radosgw-admin", "user", "create", "--uid", name, "--display-name", name, *keys))
    if quota:
        words = [word for one, value in quota.items() for word in (f"--{one.replace('_', '-')}", value)]
        run("radosgw-admin", "quota", "set", "--quota-scope", "user", "--uid", name, *words)
        run("radosgw-admin", "quota", "enable", "--quota-scope", "user", "--uid", name)
    yield made["keys"][0]["access_key"], made["keys"][0]["secret_key"]
