"""Every error that crosses a room, split by what the caller should do next.

ImagerepoError
├── RefusedError          the request is wrong; repeating it cannot help
│   ├── BadDicomError         the bytes are not the DICOM they claim to be
│   │   └── MismatchError     they are, but not the instance that was announced
│   ├── BadRequestError       the protocol request is malformed
│   ├── ConflictError         another version is stored and the setting refuses a second
│   ├── HeldError             a legal hold keeps it from being deleted
│   ├── NotFoundError         nothing has that name here
│   ├── ForgottenError        a position among changes that this repository does not know
│   ├── NotAcceptableError    stored, but not in a form that was asked for
│   ├── ForbiddenError        known caller, not allowed
│   ├── UnauthorizedError     unknown caller
│   └── TooLargeError         above a limit
├── UnavailableError      nothing became visible; the caller may retry
│   ├── OutOfSpaceError       the disk or a quota is full
│   ├── ExistsError           an object has that key already
│   └── OvertakenError        another process has done it meanwhile
├── PeerError             another application entity did not do its part; its `failure` says whether to try again
├── SettingsError         start-up stops; names the field
└── DamagedError          stored bytes or rows fail their checks
    └── MissingError          an object is not there; its bytes may have moved: look again where they lie
"""

from enum import StrEnum


class ImagerepoError(Exception):
    """The root: one sentence that names what is wrong and what to do."""


class RefusedError(ImagerepoError):
    """The request is wrong; repeating it cannot help."""


class BadDicomError(RefusedError):
    """The bytes are not the DICOM they claim to be; the message names the element or offset."""


class MismatchError(BadDicomError):
    """A data set is not the instance that its command, its File Meta Information or the URL announced."""


class BadRequestError(RefusedError):
    """The protocol request is malformed; the message names the part or parameter."""


class ConflictError(RefusedError):
    """Different bytes are stored under this SOP Instance UID and the setting refuses a new version."""


class HeldError(RefusedError):
    """A legal hold keeps it from being deleted; the message says since when and why."""


class NotFoundError(RefusedError):
    """Nothing has that name in the caller's institution."""


class ForgottenError(RefusedError):
    """A position among changes is none of this repository, or is no more since a backup was restored."""


class NotAcceptableError(RefusedError):
    """It is stored, but not in a form that was asked for."""


class UnauthorizedError(RefusedError):
    """The caller is unknown."""


class ForbiddenError(RefusedError):
    """The caller is known and not allowed."""


class TooLargeError(RefusedError):
    """A limit was exceeded; the message names the limit and its setting."""


class UnavailableError(ImagerepoError):
    """Nothing became visible; the caller may retry."""


class OutOfSpaceError(UnavailableError):
    """The disk or a quota is full; reading goes on."""


class ExistsError(UnavailableError):
    """An object has that key already and is what it was; under another key it may be stored."""


class OvertakenError(UnavailableError):
    """Another process has done it meanwhile; look again where it stands."""


class PeerFailure(StrEnum):
    """What a peer did not do."""

    UNREACHABLE = "unreachable"  # no connection: host, port, a firewall, or it does not run
    TLS = "tls"  # no agreement on certificates or protocol versions
    REJECTED = "rejected"  # the association, for good: AE titles
    BUSY = "busy"  # it rejected the association for now
    REFUSED = "refused"  # no presentation context for what has to be done
    DECLINED = "declined"  # it answered a request with a failure
    ABORTED = "aborted"  # it, or the network, ended the association
    SILENT = "silent"  # nothing came, or it took nothing, for as long as is allowed
    MALFORMED = "malformed"  # what came is not DICOM, or no answer to what was asked

    @property
    def passes(self) -> bool:
        """Whether trying again may help without anybody changing a configuration."""
        return self not in {PeerFailure.TLS, PeerFailure.REJECTED, PeerFailure.REFUSED, PeerFailure.DECLINED}


class PeerError(ImagerepoError):
    """Another application entity did not do its part; the message names it, what was waited for and what to do."""

    def __init__(self, message: str, failure: PeerFailure, brief: str = "") -> None:
        super().__init__(message)
        self.failure = failure
        self.brief = brief or message  # the cause early on, for where there is little room: Error Comment has 64


class SettingsError(ImagerepoError):
    """A setting is wrong; the message names the field and what to write instead."""


class DamagedError(ImagerepoError):
    """Stored bytes or rows fail their checks; the message names the place."""


class MissingError(DamagedError):
    """An object is not there. Whoever looked it up a while ago looks again: its bytes may lie in another."""
