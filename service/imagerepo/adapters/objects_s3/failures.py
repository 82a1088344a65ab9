"""What a request to S3 failed of, and whether to ask again.

obstore tells it in the text of its errors alone: the answer's `<Code>`, its status, or where a connection failed.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, cast

from botocore.exceptions import (  # pyright: ignore[reportMissingTypeStubs] - it has none
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    ReadTimeoutError,
    SSLError,
)
from obstore.exceptions import BaseError


class Failure(Enum):
    """Why a request was not done."""

    MISSING = auto()  # no object has that key
    BEYOND = auto()  # the object ends before the range begins
    EXISTS = auto()  # an object has that key
    NO_UPLOAD = auto()  # a multipart upload was completed or aborted already
    NO_BUCKET = auto()
    FOREIGN = auto()  # the bucket is another user's
    REFUSED = auto()  # credentials, or what they allow
    SKEWED = auto()  # the clock
    FULL = auto()  # a quota
    BUSY = auto()  # too much is asked of the gateway
    BROKEN = auto()  # the gateway, or what is behind it, failed
    UNREACHABLE = auto()  # no connection; nothing was sent
    SILENT = auto()  # no answer in time
    CUT = auto()  # the connection ended, or what came is not HTTP

    @property
    def passes(self) -> bool:
        """Whether asking again may help."""
        return self in _PASSING

    @property
    def in_doubt(self) -> bool:
        """Whether what was asked for may have been done."""
        return self in _IN_DOUBT


_PASSING: Final = {Failure.BUSY, Failure.BROKEN, Failure.UNREACHABLE, Failure.SILENT, Failure.CUT}
_IN_DOUBT: Final = {Failure.BROKEN, Failure.SILENT, Failure.CUT}

ERRORS: Final = (BaseError, BotoCoreError, ClientError, FileNotFoundError)
"""What obstore and boto3 raise when a request was not done."""

# Source: Amazon S3 API Reference, error responses; those that Ceph 16's gateway gives.
_CODES: Final = {
    "NoSuchKey": Failure.MISSING,
    "InvalidRange": Failure.BEYOND,
    "PreconditionFailed": Failure.EXISTS,
    "NoSuchUpload": Failure.NO_UPLOAD,
    "NoSuchBucket": Failure.NO_BUCKET,
    "BucketAlreadyExists": Failure.FOREIGN,
    "BucketAlreadyOwnedByYou": Failure.EXISTS,
    "AccessDenied": Failure.REFUSED,
    "InvalidAccessKeyId": Failure.REFUSED,
    "SignatureDoesNotMatch": Failure.REFUSED,
    "UserSuspended": Failure.REFUSED,
    "TooManyBuckets": Failure.REFUSED,
    "RequestTimeTooSkewed": Failure.SKEWED,
    "QuotaExceeded": Failure.FULL,
    "SlowDown": Failure.BUSY,
    "ServiceUnavailable": Failure.BUSY,
}
# Without a body, as to HEAD, the status is all there is.
_STATUSES: Final = {
    301: Failure.FOREIGN,
    403: Failure.REFUSED,
    404: Failure.NO_BUCKET,
    412: Failure.EXISTS,
    416: Failure.BEYOND,
    429: Failure.BUSY,
    503: Failure.BUSY,
}
_KINDS: Final = {"Connect": Failure.UNREACHABLE, "Timeout": Failure.SILENT}

_CODE: Final = re.compile(r"<Code>(\w+)</Code>")
_STATUS: Final = re.compile(r"status(?: code)?: (\d{3})")
_KIND: Final = re.compile(r"HttpError \{\s*kind: (\w+)")
_BODY: Final = re.compile(r"(?:<\?xml|\n).*", re.DOTALL)
_REASON: Final = re.compile(
    r'"(dns error)"|message: "([^"]+)"|\bInvalid(Certificate\(\s*\w+)|\bInvalid(ContentType)\b'
)
_BRACKETS: Final = re.compile(r"\[.*?\]|\(.*?\)")  # around OpenSSL's names of places
_PUNCTUATION: Final = re.compile(r"\W+")


@dataclass(frozen=True, slots=True)
class Failed:
    """One request that was not done."""

    failure: Failure
    said: str  # a few words: what the gateway answered, or what became of the connection


def failed(error: Exception) -> Failed:
    """What one of `ERRORS` tells."""
    if isinstance(error, ClientError):
        return _answered(error)
    if isinstance(error, BotoCoreError):
        return _unanswered(error)
    text = str(error)
    found = _CODE.search(text)
    if found is not None:
        return Failed(_CODES.get(found[1]) or _by_status(_status(text)), found[1])
    kind = _KIND.search(text)
    if kind is not None:
        return Failed(_KINDS.get(kind[1], Failure.CUT), _reason(text) or _WORDS.get(kind[1], "the connection ended"))
    status = _status(text)
    if status:
        return Failed(_by_status(status), f"status {status}")
    return Failed(Failure.CUT, _BODY.sub("", text)[-200:].strip(" -:"))


_WORDS: Final = {"Connect": "no connection", "Timeout": "no answer in time"}


def _reason(text: str) -> str:
    found = _REASON.search(text)
    said = _PUNCTUATION.sub(" ", next(filter(None, found.groups()))) if found else ""
    return "it does not speak TLS" if said == "ContentType" else said


def _status(text: str) -> int:
    found = _STATUS.search(text)
    return int(found[1]) if found else 0


def _by_status(status: int) -> Failure:
    """Any other 4xx may be a body that was damaged on its way, so all of it is asked again."""
    return _STATUSES.get(status, Failure.BROKEN)


def _answered(error: ClientError) -> Failed:
    answer = cast("dict[str, Any]", error.response)
    code = str(answer.get("Error", {}).get("Code", ""))
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    return Failed(_CODES.get(code) or _by_status(status), code or f"status {status}")


def _unanswered(error: BotoCoreError) -> Failed:
    if isinstance(error, (ConnectTimeoutError, EndpointConnectionError)):
        return Failed(Failure.UNREACHABLE, "no connection")
    if isinstance(error, SSLError):
        return Failed(Failure.UNREACHABLE, f"TLS: {_BRACKETS.sub('', str(error)).rpartition(': ')[2].strip()}")
    if isinstance(error, ReadTimeoutError):
        return Failed(Failure.SILENT, "no answer in time")
    return Failed(Failure.CUT, str(error)[:200])
