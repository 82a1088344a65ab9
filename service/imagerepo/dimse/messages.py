"""Command sets: read and made, in implicit VR little endian, without pydicom.

A command is a handful of short elements; two of them decide what happens. Values stay bytes until asked for.

Source: PS3.7 section 6.3.1 (Command Set Structure), section 9.3 and 10.3 (Protocol), Annex E (Command Dictionary).
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from imagerepo.errors import BadRequestError

COMMAND_LIMIT: Final = 64 * 1024
"""Bytes of the longest command set accepted; real ones stay below 1 KB."""
COMMENT_LIMIT: Final = 64  # characters of Error Comment, an LO

DATA_SET: Final = 0x0001
NO_DATA_SET: Final = 0x0101
"""The value of Command Data Set Type that says so; any other announces one (PS3.7 Table E.1-1)."""
RESPONSE: Final = 0x8000  # the bit of Command Field that marks responses

_ELEMENT: Final = struct.Struct("<HHI")
_US: Final = struct.Struct("<H")
_US_ELEMENT: Final = struct.Struct("<HHIH")
_UL_ELEMENT: Final = struct.Struct("<HHII")
_TAG: Final = struct.Struct("<HH")


class Element(IntEnum):
    """Element numbers in group 0000 (PS3.7 Table E.1-1)."""

    GROUP_LENGTH = 0x0000
    AFFECTED_SOP_CLASS_UID = 0x0002
    REQUESTED_SOP_CLASS_UID = 0x0003
    COMMAND_FIELD = 0x0100
    MESSAGE_ID = 0x0110
    MESSAGE_ID_RESPONDED_TO = 0x0120
    MOVE_DESTINATION = 0x0600
    PRIORITY = 0x0700
    DATA_SET_TYPE = 0x0800
    STATUS = 0x0900
    OFFENDING_ELEMENT = 0x0901
    ERROR_COMMENT = 0x0902
    ERROR_ID = 0x0903
    AFFECTED_SOP_INSTANCE_UID = 0x1000
    REQUESTED_SOP_INSTANCE_UID = 0x1001
    EVENT_TYPE_ID = 0x1002
    ATTRIBUTE_IDENTIFIER_LIST = 0x1005
    ACTION_TYPE_ID = 0x1008
    REMAINING_SUBOPERATIONS = 0x1020
    COMPLETED_SUBOPERATIONS = 0x1021
    FAILED_SUBOPERATIONS = 0x1022
    WARNING_SUBOPERATIONS = 0x1023
    MOVE_ORIGINATOR_AE_TITLE = 0x1030
    MOVE_ORIGINATOR_MESSAGE_ID = 0x1031


class CommandField(IntEnum):
    """What a request asks for (PS3.7 Table E.1-1)."""

    C_STORE_RQ = 0x0001
    C_GET_RQ = 0x0010
    C_FIND_RQ = 0x0020
    C_MOVE_RQ = 0x0021
    C_ECHO_RQ = 0x0030
    N_EVENT_REPORT_RQ = 0x0100
    N_GET_RQ = 0x0110
    N_SET_RQ = 0x0120
    N_ACTION_RQ = 0x0130
    N_CREATE_RQ = 0x0140
    N_DELETE_RQ = 0x0150
    C_CANCEL_RQ = 0x0FFF


class Status(IntEnum):
    """Status codes (PS3.7 Annex C; PS3.4 Tables B.2-1 and C.4-1 to C.4-3; C0xx means "cannot understand")."""

    SUCCESS = 0x0000
    INVALID_ATTRIBUTE_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE_SOP_INSTANCE = 0x0111
    NO_SUCH_SOP_INSTANCE = 0x0112
    INVALID_ARGUMENT = 0x0115
    INVALID_SOP_INSTANCE = 0x0117
    MISSING_ATTRIBUTE = 0x0120
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORIZED = 0x0124
    UNRECOGNIZED_OPERATION = 0x0211
    MISTYPED_ARGUMENT = 0x0212
    RESOURCE_LIMITATION = 0x0213
    OUT_OF_RESOURCES = 0xA700
    CANNOT_COUNT_MATCHES = 0xA701
    CANNOT_PERFORM_SUBOPERATIONS = 0xA702  # also: each of them failed
    MOVE_DESTINATION_UNKNOWN = 0xA801
    DATA_SET_MISMATCH = 0xA900
    CANNOT_UNDERSTAND = 0xC000
    TOO_LARGE = 0xC010  # above storage.instance_size_limit: sending it again cannot help
    CONFLICT = 0xC011  # another version is stored, and the institution refuses a second
    SUBOPERATIONS_WITH_FAILURES = 0xB000  # or with warnings
    LIMIT_REACHED = 0xB001  # of a search: a narrower one may find what is left
    CANCEL = 0xFE00
    PENDING = 0xFF00
    PENDING_WITH_WARNING = 0xFF01  # some optional keys were not supported


class MalformedCommandError(BadRequestError):
    """A command set that cannot be answered, for want of what an answer needs; the association is aborted."""


Value: TypeAlias = int | str | tuple[int, ...]
"""A number (US), text, or tags (AT)."""

NO_ELEMENTS: Final[Mapping[Element, Value]] = MappingProxyType({})
PENDING: Final = frozenset({0xFF00, 0xFF01})
"""Statuses after which further responses follow (PS3.7 Annex C.3)."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command set as received."""

    field: int
    message_id: int  # of a request; of a response the one it responds to
    has_data_set: bool
    elements: Mapping[int, bytes]  # element number -> value, as sent

    def text(self, element: Element) -> str:
        """A UID or other text without its padding; '' where absent."""
        return self.elements.get(element, b"").decode("latin_1").strip("\0 ")

    def number(self, element: Element) -> int | None:
        """A US value; None where absent.

        Raises:
            MalformedCommandError: it is not two bytes long.
        """
        value = self.elements.get(element)
        return None if value is None else _number(value, element)


def _number(value: bytes, element: int) -> int:
    if len(value) != _US.size:
        raise MalformedCommandError(f"command element (0000,{element:04X}) is {len(value)} bytes long instead of 2")
    return _US.unpack(value)[0]


def parse(command_set: bytes | bytearray) -> Command:
    """Read a whole command set.

    Its group length is not relied on: elements have to fill the bytes exactly.

    Raises:
        MalformedCommandError: it lacks structure, or what an answer needs.
    """
    elements: dict[int, bytes] = {}
    position, end = 0, len(command_set)
    while position < end:
        if end - position < _ELEMENT.size:
            raise MalformedCommandError(f"the command set ends within an element, at byte {position}")
        group, element, length = _ELEMENT.unpack_from(command_set, position)
        position += _ELEMENT.size
        if group:
            raise MalformedCommandError(f"element ({group:04X},{element:04X}) is not a command element")
        if length > end - position:
            raise MalformedCommandError(f"command element (0000,{element:04X}) is longer than the command set")
        elements[element] = bytes(command_set[position : position + length])
        position += length
    field = _required(elements, Element.COMMAND_FIELD)
    responds = field & RESPONSE or field == CommandField.C_CANCEL_RQ
    message_id = _required(elements, Element.MESSAGE_ID_RESPONDED_TO if responds else Element.MESSAGE_ID)
    data_set_type = _required(elements, Element.DATA_SET_TYPE)
    return Command(field, message_id, data_set_type != NO_DATA_SET, elements)


def _required(elements: Mapping[int, bytes], element: Element) -> int:
    value = elements.get(element)
    if value is None:
        raise MalformedCommandError(f"command element (0000,{element:04X}) is missing")
    return _number(value, element)


def encode(values: Mapping[Element, Value]) -> bytes:
    """A command set of `values`, in order, with its group length.

    Text is cut to what can be sent of it: ASCII, padded to even length, UIDs with NUL.
    """
    parts: list[bytes] = []
    for element in sorted(values):
        value = values[element]
        if isinstance(value, int):
            parts.append(_US_ELEMENT.pack(0, element, 2, value))
        elif isinstance(value, tuple):
            tags = b"".join(_TAG.pack(tag >> 16, tag & 0xFFFF) for tag in value)
            parts += (_ELEMENT.pack(0, element, len(tags)), tags)
        else:
            text = value.encode("ascii", "replace")
            if len(text) % 2:
                text += b"\0" if element in _UIDS else b" "
            parts += (_ELEMENT.pack(0, element, len(text)), text)
    body = b"".join(parts)
    return _UL_ELEMENT.pack(0, Element.GROUP_LENGTH, 4, len(body)) + body


_UIDS: Final = frozenset(
    {
        Element.AFFECTED_SOP_CLASS_UID,
        Element.REQUESTED_SOP_CLASS_UID,
        Element.AFFECTED_SOP_INSTANCE_UID,
        Element.REQUESTED_SOP_INSTANCE_UID,
    }
)

# Which UIDs of a request its response repeats, under "Affected" names (PS3.7 Tables 9.3-2, 10.3-8 and others).
_REPEATED: Final = (
    (Element.AFFECTED_SOP_CLASS_UID, Element.AFFECTED_SOP_CLASS_UID),
    (Element.AFFECTED_SOP_INSTANCE_UID, Element.AFFECTED_SOP_INSTANCE_UID),
    (Element.REQUESTED_SOP_CLASS_UID, Element.AFFECTED_SOP_CLASS_UID),
    (Element.REQUESTED_SOP_INSTANCE_UID, Element.AFFECTED_SOP_INSTANCE_UID),
)
_UID_LIMIT: Final = 64  # characters; longer ones are not repeated


def response(
    request: Command, status: int, comment: str = "", elements: Mapping[Element, Value] = NO_ELEMENTS
) -> bytes:
    """The command set of a response; that no data set follows is one of its elements.

    Args:
        request: what is responded to.
        status: the status code.
        comment: what went wrong; cut to what Error Comment (0000,0902) holds.
        elements: further ones, such as counts of sub-operations; they stand in place of those made here.
    """
    values: dict[Element, Value] = {
        Element.COMMAND_FIELD: (request.field | RESPONSE) & 0xFFFF,
        Element.MESSAGE_ID_RESPONDED_TO: request.message_id,
        Element.DATA_SET_TYPE: NO_DATA_SET,
        Element.STATUS: status,
    }
    for asked, repeated in _REPEATED:
        uid = request.text(asked)
        if uid and len(uid) <= _UID_LIMIT:
            values[repeated] = uid
    if comment:
        # An LO holds neither backslash nor control characters.
        printable = "".join(one if " " <= one <= "~" and one != "\\" else "?" for one in comment[:COMMENT_LIMIT])
        values[Element.ERROR_COMMENT] = printable
    return encode({**values, **elements})
