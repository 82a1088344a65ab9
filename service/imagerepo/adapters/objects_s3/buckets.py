"""Buckets: one for each institution, made when its first object comes.

One that is there already has to be this user's, and have nothing in it that was not stored here.
"""

import hashlib
import logging
import re
import threading
from typing import Any, Final

import obstore

from imagerepo.adapters.objects_s3.access import Access, Way
from imagerepo.adapters.objects_s3.attempts import Attempts, NotDoneError
from imagerepo.adapters.objects_s3.failures import Failure
from imagerepo.errors import SettingsError, UnavailableError

log = logging.getLogger(__name__)

_PLAIN: Final = re.compile(r"[a-z0-9-]*[a-z0-9]")
_LONGEST: Final = 63  # characters: what a label of a host name may have
_KEPT: Final = 31  # characters of an institution whose name does not fit
_LAST: Final = chr(0x10FFFF)  # behind all that begins alike: keys are in order of their UTF-8
_ABANDONED_AFTER: Final = 7  # days

_RULES: Final = {
    "Rules": [
        {
            "ID": "imagerepo-abandoned-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": _ABANDONED_AFTER},
        }
    ]
}
"""Parts of an upload whose process was killed go by this; nothing else names them."""


def bucket_of(prefix: str, institution: str) -> str:
    """The bucket's name: lower case letters, digits and hyphens, at most 63, as names of hosts are.

    Source: Amazon S3 User Guide, bucket naming rules.
    """
    name = f"{prefix}-{institution}"
    if len(name) <= _LONGEST and _PLAIN.fullmatch(name):
        return name
    # Cut short, it might be another's name.
    return f"{prefix}-{institution[:_KEPT]}-{hashlib.sha256(institution.encode()).hexdigest()[:10]}"


class Buckets:
    """Which buckets are there, asked once for each."""

    def __init__(self, prefix: str, access: Access, attempts: Attempts) -> None:
        self._prefix = prefix
        self._access = access
        self._attempts = attempts
        self._there: set[str] = set()
        self._lock = threading.Lock()  # so that many first objects ask once

    def of(self, institution: str) -> str:
        """The name of an institution's bucket, whether it is there or not."""
        return bucket_of(self._prefix, institution)

    def institutions(self) -> list[str]:
        """Whose buckets there are, as far as something lies in them. Raises UnavailableError."""
        found: list[str] = []
        try:
            buckets: list[dict[str, Any]] = self._ask("list_buckets")["Buckets"]
            for one in buckets:
                if one["Name"].startswith(f"{self._prefix}-"):
                    institution = self._first_key(one["Name"], "").partition("/")[0]
                    if institution and self.of(institution) == one["Name"]:
                        found.append(institution)
        except NotDoneError as error:
            raise UnavailableError(refusal(error, self._prefix)) from error
        return found

    def ready(self, institution: str) -> str:
        """Likewise, and it is there.

        Raises:
            SettingsError: it is not to be had; nothing was changed.
            UnavailableError: no answer.
        """
        bucket = self.of(institution)
        if bucket not in self._there:
            with self._lock:
                if bucket not in self._there:
                    self._make(bucket, institution)
                    self._there.add(bucket)
        return bucket

    def _make(self, bucket: str, institution: str) -> None:
        try:
            if self._exists(bucket, institution):
                return
            self._create(bucket)
        except NotDoneError as error:
            raise SettingsError(refusal(error, bucket)) from error
        try:
            self._ask("put_bucket_lifecycle_configuration", Bucket=bucket, LifecycleConfiguration=_RULES)
        except (NotDoneError, UnavailableError) as error:  # it may be stored to nevertheless
            log.warning("store.bucket_without_rules", extra={"bucket": bucket, "reason": str(error)})

    def _exists(self, bucket: str, institution: str) -> bool:
        """Whether it is there, and all keys in it begin with the institution."""
        beginning = f"{institution}/"
        try:
            found = self._first_key(bucket, "") or beginning
            if found.startswith(beginning):
                found = self._first_key(bucket, f"{beginning}{_LAST}") or beginning
        except NotDoneError as error:
            if error.failure is Failure.REFUSED:
                self._create(bucket)  # who is another user is told by it that the bucket is not his
            elif error.failure is not Failure.NO_BUCKET:
                raise
            return False
        if not found.startswith(beginning):
            raise SettingsError(
                f"cluster.store.bucket_prefix: bucket {bucket} holds {found[:100]!r}, which was not stored here; "
                "choose another prefix, or empty the bucket"
            )
        return True

    def _first_key(self, bucket: str, after: str) -> str:
        """The first behind `after`; empty: there is none."""

        def ask(url: str) -> str:
            reading = self._access.bytes_of(url, bucket, Way.READING)
            # Of what it might return, types of Arrow are not known here.
            listed = obstore.list(reading, offset=after or None, chunk_size=1)  # pyright: ignore[reportUnknownMemberType]
            page = next(iter(listed), ())
            return page[0]["path"] if page else ""

        return self._attempts.until_done(ask)

    def _create(self, bucket: str) -> None:
        try:
            self._ask("create_bucket", Bucket=bucket)
        except NotDoneError as error:
            if error.failure is not Failure.EXISTS:  # somebody else has just made it
                raise

    def _ask(self, verb: str, **words: object) -> Any:  # noqa: ANN401 - what boto3 makes of an answer
        return self._attempts.until_done(
            lambda url: getattr(self._access.administration(url, Way.ARRANGING), verb)(**words)
        )


_SENTENCES: Final = {
    Failure.REFUSED: "S3 refuses the user of cluster.store.access_key ({said}) at bucket {bucket}: "
    "see cluster.store.secret_key_file, and what that user may do",
    Failure.SKEWED: "S3 refuses requests since clocks differ ({said}): set this machine's clock, or the gateway's",
    Failure.FOREIGN: "bucket {bucket} is another user's: choose another cluster.store.bucket_prefix",
    Failure.NO_BUCKET: "there is no bucket {bucket}: see cluster.store.endpoints and cluster.store.bucket_prefix; "
    "it is not made anew where objects have been stored",
}


def refusal(error: NotDoneError, bucket: str) -> str:
    """A sentence that names what to do."""
    sentence = _SENTENCES.get(error.failure, "S3 refuses what it is asked of bucket {bucket}: {said}")
    return sentence.format(bucket=bucket, said=error.said)
