"""Modality Performed Procedure Step: N-CREATE when a step begins, N-SET as it goes on and ends, N-GET to look.

Source: PS3.4 F.7.2 (MPPS SOP Class) and F.8.2 (Retrieve); PS3.7 sections 10.1.2, 10.1.3 and 10.1.5, Annex C.
"""

from collections.abc import Mapping
from typing import Final
from uuid import uuid4

from imagerepo.dicom.data_set_writer import SPECIFIC_CHARACTER_SET, encode_data_set
from imagerepo.dicom.identifier import Identifier
from imagerepo.dicom.written import typed
from imagerepo.dimse.identified import Identified
from imagerepo.dimse.messages import Element, Status, Value
from imagerepo.dimse.services import Operation, Request
from imagerepo.errors import BadRequestError, ConflictError, NotFoundError, TooLargeError, UnavailableError
from imagerepo.flows.repository import Repository
from imagerepo.flows.worklist import FinishedStepError, IncompleteStepError, Worklist, WrongStatusError
from imagerepo.model.caller import Role
from imagerepo.model.header import Header
from imagerepo.model.uids import is_uid

MPPS: Final = "1.2.840.10008.3.1.2.3.3"
MPPS_RETRIEVE: Final = "1.2.840.10008.3.1.2.3.4"

_NO_LONGER_UPDATED: Final = 0xA710  # Error ID (PS3.4 Table F.7.2-2)


class Create:
    """N-CREATE: a step begins."""

    def __init__(self, repository: Repository) -> None:
        self._worklist = repository.worklist

    def __call__(self, request: Request) -> Operation:
        """The operation of one request."""
        return Identified(request, self._create, Role.WRITE)

    def _create(self, request: Request, identifier: Identifier) -> None:
        # The modality may leave it to us to name the instance (PS3.7 10.1.5.1.4).
        uid = request.command.text(Element.AFFECTED_SOP_INSTANCE_UID) or f"2.25.{uuid4().int}"
        if not is_uid(uid):
            request.respond(Status.INVALID_SOP_INSTANCE, "Affected SOP Instance UID (0000,1000) is malformed")
            return
        try:
            self._worklist.begin(request.exchange.caller, uid, _content(identifier))
        except BadRequestError as error:
            _refuse(request, error)
        except ConflictError as error:
            request.respond(Status.DUPLICATE_SOP_INSTANCE, str(error))
        except (UnavailableError, TooLargeError) as error:
            request.respond(Status.PROCESSING_FAILURE, str(error))
        else:
            request.respond(Status.SUCCESS, elements={Element.AFFECTED_SOP_INSTANCE_UID: uid})


class Set:
    """N-SET: a step goes on, is completed or discontinued."""

    def __init__(self, repository: Repository) -> None:
        self._worklist = repository.worklist

    def __call__(self, request: Request) -> Operation:
        """The operation of one request."""
        return Identified(request, self._set, Role.WRITE)

    def _set(self, request: Request, identifier: Identifier) -> None:
        uid = request.command.text(Element.REQUESTED_SOP_INSTANCE_UID)
        try:
            self._worklist.change(request.exchange.caller, uid, _content(identifier))
        except BadRequestError as error:
            _refuse(request, error)
        except NotFoundError as error:
            request.respond(Status.NO_SUCH_SOP_INSTANCE, str(error))
        except FinishedStepError as error:
            elements: Mapping[Element, Value] = {Element.ERROR_ID: _NO_LONGER_UPDATED}
            request.respond(Status.PROCESSING_FAILURE, str(error), elements=elements)
        except (UnavailableError, TooLargeError) as error:
            request.respond(Status.PROCESSING_FAILURE, str(error))
        else:
            request.respond(Status.SUCCESS)


class Get:
    """N-GET: what is known of a step."""

    def __init__(self, repository: Repository) -> None:
        self._worklist = repository.worklist

    def __call__(self, request: Request) -> Operation:
        """The operation of one request."""
        return _Get(self._worklist, request)


class _Get:
    """An N-GET, which has no data set."""

    def __init__(self, worklist: Worklist, request: Request) -> None:
        self._worklist = worklist
        self._request = request

    def write(self, piece: memoryview) -> None:
        """Drop it."""

    def complete(self) -> None:
        """Answer with what was asked for: listed attributes, or all."""
        request = self._request
        caller = request.exchange.caller
        if not caller.may(Role.READ):
            request.respond(Status.NOT_AUTHORIZED, f"the caller lacks the role {Role.READ.value!r}")
            return
        try:
            step = self._worklist.performed(caller, request.command.text(Element.REQUESTED_SOP_INSTANCE_UID))
        except NotFoundError as error:
            request.respond(Status.NO_SUCH_SOP_INSTANCE, str(error))
        except (UnavailableError, TooLargeError) as error:
            request.respond(Status.PROCESSING_FAILURE, str(error))
        else:
            asked = _tags(request.command.elements.get(Element.ATTRIBUTE_IDENTIFIER_LIST, b""))
            content = {tag: one for tag, one in step.content.items() if not asked or tag in asked}
            request.respond(Status.SUCCESS, data_set=encode_data_set(content, request.context.transfer_syntax))

    def close(self) -> None:
        """Nothing is held."""


def _content(identifier: Identifier) -> Header:
    try:
        told = typed(identifier.attributes)
    except ValueError as error:
        raise BadRequestError(f"a number is malformed: {error}") from None
    return {tag: one for tag, one in told.items() if tag != SPECIFIC_CHARACTER_SET}


def _tags(value: bytes) -> frozenset[str]:
    """The tags of an AT value."""
    return frozenset(
        f"{int.from_bytes(value[at : at + 2], 'little'):04X}{int.from_bytes(value[at + 2 : at + 4], 'little'):04X}"
        for at in range(0, len(value) - 3, 4)
    )


def _refuse(request: Request, error: BadRequestError) -> None:
    if isinstance(error, IncompleteStepError):
        tags = tuple(int(tag, 16) for tag in error.tags)
        elements: Mapping[Element, Value] = {Element.ATTRIBUTE_IDENTIFIER_LIST: tags}
        request.respond(Status.MISSING_ATTRIBUTE, str(error), elements=elements)
    elif isinstance(error, WrongStatusError):
        request.respond(Status.INVALID_ATTRIBUTE_VALUE, str(error))
    else:
        request.respond(Status.PROCESSING_FAILURE, str(error))
