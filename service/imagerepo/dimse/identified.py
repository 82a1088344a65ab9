"""Requests that come with an identifier: gather it, read it, do what it asks, and say what was wrong with it.

Source: PS3.7 section 9.1.2 (C-FIND), Annex C.4 and C.5 (failure statuses); PS3.4 Tables C.4-1 to C.4-3.
"""

import logging
from collections.abc import Callable
from typing import Final, TypeAlias

from imagerepo.dicom.identifier import SIZE_LIMIT, Identifier, decode_identifier
from imagerepo.dimse.levels import IdentifierError, UnmatchableError
from imagerepo.dimse.messages import CommandField, Element, MalformedCommandError, Status
from imagerepo.dimse.pdu import InvalidPduError
from imagerepo.dimse.services import Request
from imagerepo.errors import BadDicomError, ForbiddenError, ImagerepoError, TooLargeError, UnavailableError
from imagerepo.model.caller import Role

log = logging.getLogger(__name__)

Act: TypeAlias = Callable[[Request, Identifier], None]
"""Does what an identifier asks, up to the final response. An ImagerepoError becomes that response."""

_STATUS_OF: Final[tuple[tuple[type[ImagerepoError], Status], ...]] = (
    (IdentifierError, Status.DATA_SET_MISMATCH),
    (ForbiddenError, Status.NOT_AUTHORIZED),
    (TooLargeError, Status.OUT_OF_RESOURCES),
    (UnavailableError, Status.OUT_OF_RESOURCES),
)

# Statuses of DIMSE-N services (PS3.7 section 10.1 and Annex C): what else goes wrong is a processing failure.
_N_STATUS_OF: Final[tuple[tuple[type[ImagerepoError], Status], ...]] = ((ForbiddenError, Status.NOT_AUTHORIZED),)
_N_SERVICES: Final = frozenset({CommandField.N_ACTION_RQ, CommandField.N_CREATE_RQ, CommandField.N_SET_RQ})


class Identified:
    """An operation whose data set is an identifier."""

    def __init__(self, request: Request, act: Act, role: Role = Role.READ) -> None:
        """Act on behalf of a caller that holds `role`."""
        self._request = request
        self._act = act
        self._role = role
        self._data_set = bytearray()
        self._too_large = False

    def write(self, piece: memoryview) -> None:
        """Append a piece, up to what an identifier may be."""
        if len(self._data_set) + len(piece) > SIZE_LIMIT:
            self._too_large = True
            self._data_set.clear()
        if not self._too_large:
            self._data_set += piece

    def complete(self) -> None:
        """Read it, act, respond."""
        request = self._request
        try:
            if not request.exchange.caller.may(self._role):
                raise ForbiddenError(f"the caller lacks the role {self._role.value!r}")
            if self._too_large:
                raise TooLargeError(f"an identifier above {SIZE_LIMIT} bytes")
            if not request.command.has_data_set:
                raise BadDicomError("the request has no identifier")
            identifier = decode_identifier(bytes(self._data_set), request.context.transfer_syntax)
            self._act(request, identifier)
        except (InvalidPduError, MalformedCommandError):
            raise  # what the requestor sent meanwhile: the association has to end
        except ImagerepoError as error:
            fail(request, error)

    def close(self) -> None:
        """Drop the identifier."""
        self._data_set.clear()


def fail(request: Request, error: ImagerepoError) -> None:
    """Respond with the failure that an error amounts to; the comment says why, the offending element where."""
    of = _N_STATUS_OF if request.command.field in _N_SERVICES else _STATUS_OF
    otherwise = Status.PROCESSING_FAILURE if of is _N_STATUS_OF else Status.CANNOT_UNDERSTAND
    status = next((status for kind, status in of if isinstance(error, kind)), otherwise)
    told = {"status": f"{status:04X}", "error": type(error).__name__, "tag": getattr(error, "tag", "")}
    log.warning("dimse.identifier.refused", extra=told)
    if isinstance(error, IdentifierError | UnmatchableError):
        elements = {Element.OFFENDING_ELEMENT: (int(error.tag, 16),)}
        request.respond(status, str(error), elements=elements)
    else:
        request.respond(status, str(error))
