"""C-FIND, C-MOVE and C-GET as a service class user.

Source: PS3.7 sections 9.1.2 to 9.1.4, PS3.4 C.4 (DIMSE-C service groups).
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Final

from imagerepo.dicom.data_set_writer import encode_data_set
from imagerepo.dicom.identifier import decode_identifier
from imagerepo.dimse.client import failures
from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.conversation import Answer, Conversation, Service
from imagerepo.dimse.client.data import Bytes
from imagerepo.dimse.client.statuses import is_failure
from imagerepo.dimse.messages import CommandField, Element, Value
from imagerepo.dimse.query_retrieve import Model
from imagerepo.errors import BadDicomError
from imagerepo.model.header import Header
from imagerepo.ports.peers import Priority

SYNTAXES: Final = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")
"""Transfer syntaxes of identifiers: explicit and implicit VR little endian."""
_UNICODE: Final = "ISO_IR 192"
_FAILED_UIDS: Final = "00080058"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a C-MOVE or C-GET is (PS3.4 C.4.2.1.6 to C.4.2.1.9); numbers are of sub-operations."""

    status: int
    comment: str
    remaining: int
    completed: int
    failed: int
    warned: int
    failed_uids: tuple[str, ...]  # SOP Instance UIDs; told at the end


def find(connection: Connection, model: Model, keys: Header, limit: int | None = None) -> Generator[Header, None, int]:
    """What matches, one after another; returns the final status: success, or a warning.

    Args:
        connection: with a context of the model's C-FIND.
        model: the information model.
        keys: the identifier, with Query/Retrieve Level.
        limit: matches after which the rest is cancelled; None: all.

    Raises:
        PeerError: it declines, or is gone.
    """
    context = connection.context_for(model.find)
    conversation = _ask(connection, model.find, CommandField.C_FIND_RQ, keys)
    found = 0
    status = 0
    for answer in conversation:
        status = answer.status
        if not answer.pending:
            _check(connection, "C-FIND", answer)
        elif limit is None or found < limit:
            found += 1
            yield _decoded(connection, answer, context.transfer_syntax)
            if found == limit:
                conversation.cancel()
    return status


def move(
    connection: Connection, model: Model, keys: Header, destination: str, priority: Priority = Priority.MEDIUM
) -> Generator[Progress]:
    """Have the peer send what matches to the AE title `destination`; the last progress is final. Raises PeerError."""
    further: dict[Element, Value] = {Element.MOVE_DESTINATION: destination, Element.PRIORITY: priority}
    conversation = _ask(connection, model.move, CommandField.C_MOVE_RQ, keys, further)
    return _progress(connection, "C-MOVE", model.move, conversation)


def get(connection: Connection, model: Model, keys: Header, service: Service) -> Generator[Progress]:
    """Have the peer send what matches on this association, to `service`; the last progress is final.

    Raises:
        PeerError: it declines, or is gone.
    """
    conversation = _ask(connection, model.get, CommandField.C_GET_RQ, keys, service=service)
    return _progress(connection, "C-GET", model.get, conversation)


def _ask(
    connection: Connection,
    sop_class: str,
    field: CommandField,
    keys: Header,
    further: dict[Element, Value] | None = None,
    service: Service | None = None,
) -> Conversation:
    context = connection.context_for(sop_class)
    command = {
        Element.AFFECTED_SOP_CLASS_UID: sop_class,
        Element.COMMAND_FIELD: field,
        Element.PRIORITY: Priority.MEDIUM,
        **(further or {}),
    }
    data = Bytes(encode_data_set(keys, context.transfer_syntax, _UNICODE))
    return connection.calls(context, command, data, service)


def _progress(connection: Connection, name: str, sop_class: str, conversation: Conversation) -> Generator[Progress]:
    syntax = connection.context_for(sop_class).transfer_syntax
    for answer in conversation:
        failed: tuple[str, ...] = ()
        if answer.data:
            attribute = _decoded(connection, answer, syntax).get(_FAILED_UIDS)
            failed = tuple(str(value) for value in attribute.values) if attribute else ()
        made = _made(answer, failed)
        if is_failure(answer.status) and not answer.pending and not made.completed:
            raise failures.declined(connection.peer, name, answer.status, answer.comment)
        yield made


def _made(answer: Answer, failed: tuple[str, ...]) -> Progress:
    def count(element: Element) -> int:
        return answer.command.number(element) or 0

    return Progress(
        answer.status,
        answer.comment,
        count(Element.REMAINING_SUBOPERATIONS),
        count(Element.COMPLETED_SUBOPERATIONS),
        count(Element.FAILED_SUBOPERATIONS),
        count(Element.WARNING_SUBOPERATIONS),
        failed,
    )


def _decoded(connection: Connection, answer: Answer, syntax: str) -> Header:
    try:
        return decode_identifier(answer.data, syntax).attributes
    except BadDicomError as error:
        raise failures.malformed(connection.peer, "in the data set of a response", str(error)) from error


def _check(connection: Connection, name: str, answer: Answer) -> None:
    if is_failure(answer.status):
        raise failures.declined(connection.peer, name, answer.status, answer.comment)
