"""Every error that crosses a room, split by what the caller should do next.

ImagerepoError
├── RefusedError          the request is wrong; repeating it cannot help
│   ├── BadDicomError         the bytes are not the DICOM they claim to be
│   │   └── MismatchError     they are, but not the instance that was announced
│   ├── BadRequestError       the protocol request is malformed
│   ├── ConflictError         another version is stored and the setting refuses a second
│   ├── NotFoundError         nothing has that name here
│   ├── NotAcceptableError    stored, but not in a form that was asked for
│   ├── ForbiddenError        known caller, not allowed
│   ├── UnauthorizedError     unknown caller
│   └── TooLargeError         above a limit
├── UnavailableError      nothing became visible; the caller may retry
│   └── OutOfSpaceError       the disk or a quota is full
├── SettingsError         start-up stops; names the field
└── DamagedError          stored bytes or rows fail their checks
"""


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


class NotFoundError(RefusedError):
    """Nothing has that name in the caller's institution."""


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


class SettingsError(ImagerepoError):
    """A setting is wrong; the message names the field and what to write instead."""


class DamagedError(ImagerepoError):
    """Stored bytes or rows fail their checks; the message names the place."""
