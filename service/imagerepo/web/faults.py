"""Errors as HTTP answers: one sentence as text, and the status that says who has to act.

Source: RFC 9110 section 15 (Status Codes), RFC 4918 section 11.5 (507), PS3.18 section 8.5 (Status Codes).
"""

import errno
import logging
from dataclasses import dataclass
from typing import Final

from starlette.types import Send

from imagerepo.errors import (
    BadRequestError,
    ConflictError,
    DamagedError,
    ForbiddenError,
    ForgottenError,
    HeldError,
    ImagerepoError,
    NotAcceptableError,
    NotFoundError,
    OutOfSpaceError,
    RefusedError,
    TooLargeError,
    UnauthorizedError,
    UnavailableError,
)

log = logging.getLogger(__name__)

Headers = list[tuple[bytes, bytes]]


class StalledError(RefusedError):
    """The request's body did not go on for too long."""


class UnsupportedMediaTypeError(RefusedError):
    """The request's body is of a type that is not taken here; the message names those that are."""


class ContentCodingError(UnsupportedMediaTypeError):
    """The request's body is compressed."""


class MethodError(RefusedError):
    """The resource has no such method."""

    def __init__(self, method: str, allowed: str) -> None:
        super().__init__(f"{method[:20]} is not possible here; {allowed} are")
        self.allowed = allowed


class RangeError(RefusedError):
    """None of the bytes asked for exist."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the range begins beyond the last of {size} bytes")
        self.size = size


class GoneError(Exception):
    """The client has left; there is nobody to answer."""


@dataclass(frozen=True, slots=True)
class Fault:
    """An answer that says what is wrong."""

    status: int
    text: str
    headers: Headers


# The first class that an error is an instance of decides.
_STATUS: Final[tuple[tuple[type[ImagerepoError], int], ...]] = (
    (StalledError, 408),
    (UnsupportedMediaTypeError, 415),
    (MethodError, 405),
    (RangeError, 416),
    (NotFoundError, 404),
    (ForgottenError, 410),
    (NotAcceptableError, 406),
    (UnauthorizedError, 401),
    (ForbiddenError, 403),
    (ConflictError, 409),
    (HeldError, 409),
    (TooLargeError, 413),
    (BadRequestError, 400),
    (RefusedError, 400),
    (OutOfSpaceError, 507),
    (UnavailableError, 503),
    (DamagedError, 500),
)
_OF_THE_DISK: Final = frozenset({errno.EIO, errno.EROFS, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.EACCES})
_RETRY_SECONDS: Final = b"1"
_WHAT_TO_DO: Final = "`imagerepo audit verify --bytes` tells all that is damaged; a backup has to bring it back"


def fault_of(error: Exception) -> Fault:
    """The answer to a request that ended in `error`."""
    if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
        log.error("http.failed", exc_info=error)
        # Not its file name: that is the server's own.
        return Fault(500, f"the server's disk failed: {error.strerror}; its log says where, and {_WHAT_TO_DO}", [])
    if not isinstance(error, ImagerepoError):
        log.error("http.failed", exc_info=error)
        return Fault(500, "an error of the server, which its log describes", [])
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status == 500:
        log.error("http.failed", exc_info=error)
    text = f"{error}; {_WHAT_TO_DO}" if isinstance(error, DamagedError) else str(error)
    return Fault(status, text, _headers(error))


async def send_fault(send: Send, fault: Fault) -> None:
    """Send an answer that says what is wrong."""
    body = f"{fault.text}\n".encode("utf-8", "replace")
    headers: Headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(body)),
        (b"x-content-type-options", b"nosniff"),
        *fault.headers,
    ]
    await send({"type": "http.response.start", "status": fault.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _headers(error: ImagerepoError) -> Headers:
    headers: Headers = []
    match error:
        case UnauthorizedError():
            headers.append((b"www-authenticate", b'Bearer realm="imagerepo"'))
        case ContentCodingError():
            headers.append((b"accept-encoding", b"identity"))  # RFC 9110 section 15.5.16
        case MethodError():
            headers.append((b"allow", error.allowed.encode()))
        case RangeError():
            headers.append((b"content-range", b"bytes */%d" % error.size))
        case StalledError():
            headers.append((b"connection", b"close"))
        case UnavailableError() if not isinstance(error, OutOfSpaceError):
            headers.append((b"retry-after", _RETRY_SECONDS))
        case _:
            pass
    return headers
