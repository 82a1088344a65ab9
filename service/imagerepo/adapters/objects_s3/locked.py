"""A bucket under object lock: what is put there nobody can change or remove before its time, whoever he is.

The bucket keeps versions. Who puts under a key that is taken, or deletes it, only adds another version; all of them
are read back.

Source: Amazon S3 User Guide, Object Lock, compliance mode.
"""

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from imagerepo.adapters.objects_s3.access import Access, Way
from imagerepo.adapters.objects_s3.attempts import Attempts, NotDoneError
from imagerepo.adapters.objects_s3.buckets import refusal
from imagerepo.adapters.objects_s3.failures import Failure
from imagerepo.errors import DamagedError, ExistsError, SettingsError, UnavailableError

_LISTED_AT_ONCE: Final = 1000
_NO_BUCKET: Final = "NoSuchBucket"


@dataclass(frozen=True, slots=True)
class LockedVersion:
    """A version of an object, as a listing shows it."""

    key: str
    version: str


class LockedBucket:
    """Safe to call from any number of threads. All of it blocks, within bounds."""

    def __init__(self, name: str, access: Access, attempts: Attempts) -> None:
        self.name = name
        self._access = access
        self._attempts = attempts

    def make(self) -> None:
        """See that it is there and locks, or make it.

        Raises:
            SettingsError: it is not to be had; nothing was changed.
            UnavailableError: no answer.
        """
        try:
            if not self._is_there():
                self._ask(Way.ARRANGING, "create_bucket", ObjectLockEnabledForBucket=True)
        except NotDoneError as error:
            if error.failure is not Failure.EXISTS:  # somebody else has just made it
                raise SettingsError(refusal(error, self.name)) from error

    def put(self, key: str, body: bytes, until: datetime) -> None:
        """Store an object that stays.

        Two who put under one key at the same moment may both be told that they have: both versions stay.

        Args:
            key: its name.
            body: its bytes, few.
            until: when it may go, aware.

        Raises:
            ExistsError: an object has that key; it may be this one, of a request whose answer was lost.
            UnavailableError: it is not known whether it was stored.
        """
        try:
            # Looked up first: where a bucket keeps versions, a gateway need not look at the condition.
            if any(one.key == key for one in self.versions(prefix=key)):
                raise ExistsError(f"object {self.name}/{key} exists")
            self._ask(
                Way.WRITING,
                "put_object",
                Key=key,
                Body=body,
                ContentMD5=base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
                IfNoneMatch="*",
                ObjectLockMode="COMPLIANCE",
                ObjectLockRetainUntilDate=until,
            )
        except NotDoneError as error:
            if error.failure is Failure.EXISTS:
                raise ExistsError(f"object {self.name}/{key} exists") from error
            raise UnavailableError(refusal(error, self.name)) from error

    def versions(self, after: str = "", prefix: str = "") -> Iterator[LockedVersion]:
        """All that was ever put under keys that begin with `prefix`, in order of key, from behind `after` on.

        Nothing where there is no bucket.

        Raises:
            UnavailableError: no answer.
        """
        words: dict[str, Any] = {"MaxKeys": _LISTED_AT_ONCE, "Prefix": prefix}
        if after:
            words["KeyMarker"] = after
        while True:
            try:
                page = self._ask(Way.READING, "list_object_versions", **words)
            except NotDoneError as error:
                if error.said == _NO_BUCKET:
                    return
                raise UnavailableError(refusal(error, self.name)) from error
            for one in page.get("Versions", ()):
                yield LockedVersion(one["Key"], one["VersionId"])
            if not page["IsTruncated"]:
                return
            words |= {"KeyMarker": page["NextKeyMarker"], "VersionIdMarker": page["NextVersionIdMarker"]}

    def read(self, one: LockedVersion) -> bytes:
        """A version's bytes. Raises DamagedError, UnavailableError."""
        try:
            return self._attempts.until_done(lambda url: self._get(url, one))
        except NotDoneError as error:
            if error.failure is Failure.MISSING:
                raise DamagedError(f"version {one.version} of object {self.name}/{one.key} is missing") from error
            raise UnavailableError(refusal(error, self.name)) from error

    def _is_there(self) -> bool:
        try:
            found: dict[str, Any] = self._ask(Way.READING, "get_object_lock_configuration")
        except NotDoneError as error:
            if error.said == _NO_BUCKET:
                return False
            if error.failure is not Failure.NO_BUCKET:
                raise
            found = {}
        if found.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") != "Enabled":
            raise SettingsError(
                f"audit.key: bucket {self.name} was made without object lock, so that signed roots in it could be "
                "changed: remove it, or choose another cluster.store.bucket_prefix"
            )
        return True

    def _get(self, url: str, one: LockedVersion) -> bytes:
        client = self._access.administration(url, Way.READING)
        answer = client.get_object(Bucket=self.name, Key=one.key, VersionId=one.version)
        return answer["Body"].read()

    def _ask(self, way: Way, verb: str, **words: object) -> Any:  # noqa: ANN401 - what boto3 makes of an answer
        return self._attempts.until_done(
            lambda url: getattr(self._access.administration(url, way), verb)(Bucket=self.name, **words)
        )
