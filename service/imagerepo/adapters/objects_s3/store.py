"""Objects written to S3, read, listed and deleted.

Whoever puts an object names it anew: nothing is ever written over. A request whose answer was lost may have been done,
so what exists then is compared with what was to be put.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NoReturn

import obstore

from imagerepo.adapters.objects_s3.access import Access, Way
from imagerepo.adapters.objects_s3.attempts import Attempts, NotDoneError
from imagerepo.adapters.objects_s3.buckets import Buckets, refusal
from imagerepo.adapters.objects_s3.failures import Failure
from imagerepo.adapters.objects_s3.gateways import Gateways
from imagerepo.adapters.objects_s3.locked import LockedBucket
from imagerepo.adapters.objects_s3.upload import Upload
from imagerepo.errors import (
    DamagedError,
    ExistsError,
    MissingError,
    OutOfSpaceError,
    SettingsError,
    UnavailableError,
)
from imagerepo.model.arrival import Buffer
from imagerepo.model.instance import Range
from imagerepo.settings_cluster import Store

_MUCH: Final = 4 << 20  # bytes of an object that takes longer
_DELETED_AT_ONCE: Final = 100  # objects; the gateway takes one after another
_LISTED_AT_ONCE: Final = 1000


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object lies, as a Range names it."""

    store: str  # the bucket
    key: str


@dataclass(frozen=True, slots=True)
class Listed:
    """An object as a listing shows it."""

    key: str
    size: int  # bytes
    stored_at: datetime  # aware, UTC


class S3Store:
    """The buckets of all institutions; safe to call from any number of threads. All of it blocks, within bounds."""

    def __init__(self, settings: Store) -> None:
        """Asks nothing yet. Raises SettingsError: the secret key cannot be read."""
        self._access = Access(settings)
        self._gateways = Gateways(settings.endpoints)
        self._attempts = Attempts(self._gateways)
        self._prefix = settings.bucket_prefix
        self._buckets = Buckets(settings.bucket_prefix, self._access, self._attempts)

    def check(self, institutions: Iterable[str]) -> None:
        """See that S3 does what is going to be asked; buckets of institutions that have none yet are made.

        Raises:
            SettingsError: it will not; the sentence names the setting.
            UnavailableError: no answer.
        """
        for institution in institutions:
            self._buckets.ready(institution)

    def complaint(self) -> str:
        """Why nothing can be stored or read just now; empty: it can, as far as gateways answer. Blocks for seconds."""
        return self._gateways.complaint()

    def bucket(self, institution: str) -> str:
        """The bucket of an institution's objects, whether it was made yet or not."""
        return self._buckets.of(institution)

    def locked(self, name: str) -> LockedBucket:
        """A bucket under object lock, whether it was made yet or not; its name goes on behind the prefix and a dot."""
        # No institution's bucket has a dot in its name.
        return LockedBucket(f"{self._prefix}.{name}", self._access, self._attempts)

    def institutions(self) -> list[str]:
        """Whose buckets there are, as far as something lies in them. Raises UnavailableError."""
        return self._buckets.institutions()

    def put(self, key: str, parts: Sequence[Buffer], *, institution: str) -> Place:
        """Store an object, whole or not at all.

        Args:
            key: its name in the institution's bucket, which nothing has.
            parts: its bytes in order, in memory.
            institution: whose it is.

        Raises:
            ExistsError: something else has that key, and was left as it is.
            OutOfSpaceError: a quota is full.
            UnavailableError: it is not known whether it was stored. It may be put again, under another key.
        """
        bucket = self._ready(institution)
        way = Way.WRITING if _size(parts) <= _MUCH else Way.WRITING_MUCH
        try:
            self._attempts.until_done(
                lambda url: obstore.put(self._access.bytes_of(url, bucket, way), key, list(parts), mode="create")
            )
        except NotDoneError as error:
            if error.failure is not Failure.EXISTS:
                self._raise_unstored(error, bucket)
            if not error.in_doubt or not self._is_stored(Place(bucket, key), parts):
                raise ExistsError(f"object {bucket}/{key} exists") from error
        return Place(bucket, key)

    def put_large(self, key: str, file: Path, *, institution: str) -> Place:
        """Store a file in parts, several at once; whole or not at all. Raises what `put` raises."""
        bucket = self._ready(institution)
        # Ceph 16 does not look at conditions when an upload is completed, but when an object is put: an empty one
        # takes the key, so that of several writers one goes on.
        upload = Upload(self._access, self._attempts, bucket, key)
        self.put(key, [upload.claim], institution=institution)
        try:
            upload.send(file)
        except NotDoneError as error:
            self._raise_unstored(error, bucket)
        return Place(bucket, key)

    def read(self, where: Range) -> bytes:
        """Read all of `where`. Raises what `fetch` raises."""
        return bytes(self.fetch(where))

    def fetch(self, where: Range) -> memoryview:
        """Likewise, without another copy.

        Raises:
            MissingError: the object is not there.
            DamagedError: it is shorter than its row says.
            UnavailableError: no answer; the object may be as it should be.
        """
        start, length = where.offset, where.length
        try:
            found = memoryview(self._attempts.until_done(lambda url: self._range(url, where)) if length else b"")
        except NotDoneError as error:
            if error.failure is Failure.MISSING:
                raise MissingError(f"object {where.store}/{where.key} is missing; run `imagerepo fsck`") from error
            if error.failure is not Failure.BEYOND:
                raise UnavailableError(refusal(error, where.store)) from error
            found = memoryview(b"")
        if len(found) != length:
            raise DamagedError(f"object {where.store}/{where.key} ends before byte {start + length}")
        return found

    def size(self, store: str, key: str) -> int | None:
        """An object's size in bytes; None: there is none, or no such bucket. Raises UnavailableError."""
        try:
            return self._attempts.until_done(
                lambda url: obstore.head(self._access.bytes_of(url, store, Way.READING), key)["size"]
            )
        except NotDoneError as error:
            # An answer to HEAD has no body, which would tell a missing bucket from a missing object.
            if error.failure not in {Failure.MISSING, Failure.NO_BUCKET}:
                raise UnavailableError(refusal(error, store)) from error
            return None

    def is_there(self, store: str) -> bool:
        """Whether there is such a bucket. Raises UnavailableError."""
        words = {"Bucket": store, "MaxKeys": 1}
        try:
            self._attempts.until_done(
                lambda url: self._access.administration(url, Way.READING).list_objects_v2(**words)
            )
        except NotDoneError as error:
            if error.failure is not Failure.NO_BUCKET:
                raise UnavailableError(refusal(error, store)) from error
            return False
        return True

    def delete(self, store: str, keys: Sequence[str]) -> None:
        """Delete objects of one bucket. That one is gone already is no fault.

        Raises:
            UnavailableError: some may be left; they may be deleted again.
        """
        for start in range(0, len(keys), _DELETED_AT_ONCE):
            some = list(keys[start : start + _DELETED_AT_ONCE])
            try:
                self._attempts.until_done(lambda url, some=some: self._delete(url, store, some))
            except NotDoneError as error:
                if error.failure is not Failure.MISSING:
                    raise UnavailableError(refusal(error, store)) from error

    def list(self, store: str, prefix: str, after: str) -> Iterator[Listed]:
        """Objects whose keys begin with `prefix`, in order of key, from behind `after` on ('': the first).

        Raises:
            UnavailableError: no answer; from behind the last one that was given, it may be gone on with.
        """
        while True:
            words = {"Bucket": store, "Prefix": prefix, "StartAfter": after, "MaxKeys": _LISTED_AT_ONCE}
            try:
                page: Any = self._attempts.until_done(
                    lambda url, words=words: self._access.administration(url, Way.READING).list_objects_v2(**words)
                )
            except NotDoneError as error:
                raise UnavailableError(refusal(error, store)) from error
            for one in page.get("Contents", ()):
                after = one["Key"]
                yield Listed(after, one["Size"], one["LastModified"])
            if not page["IsTruncated"]:
                return

    def close(self) -> None:
        """Let connections go; whoever waits for a gateway is told that there is none."""
        self._gateways.close()
        self._access.close()

    def _delete(self, url: str, bucket: str, keys: Sequence[str]) -> None:
        obstore.delete(self._access.bytes_of(url, bucket, Way.WRITING), keys)

    def _ready(self, institution: str) -> str:
        try:
            return self._buckets.ready(institution)
        except SettingsError as error:
            raise UnavailableError(str(error)) from error

    def _raise_unstored(self, error: NotDoneError, bucket: str) -> NoReturn:
        if error.failure is Failure.FULL:
            raise OutOfSpaceError(
                f"the quota of bucket {bucket} or of its user is full; raise it, or delete studies"
            ) from error
        raise UnavailableError(refusal(error, bucket)) from error

    def _is_stored(self, place: Place, parts: Sequence[Buffer]) -> bool:
        """Whether the object is these bytes and nothing else."""
        size = _size(parts)
        whole = Range(place.store, place.key, 0, size + 1)
        try:
            stored = memoryview(self._attempts.until_done(lambda url: self._range(url, whole)))
        except NotDoneError:
            return False
        at = 0
        for view in map(memoryview, parts):
            if stored[at : at + view.nbytes] != view:
                return False
            at += view.nbytes
        return stored.nbytes == size

    def _range(self, url: str, where: Range) -> obstore.Bytes:
        """As much of it as there is."""
        reading = self._access.bytes_of(url, where.store, Way.READING)
        return obstore.get_range(reading, where.key, start=where.offset, length=where.length)


def _size(parts: Sequence[Buffer]) -> int:
    return sum(memoryview(part).nbytes for part in parts)
