"""Codec of A-ASSOCIATE-RQ and -AC PDUs.

Our own rather than pynetdicom's primitives: it reads straight from the receive buffer, has one error for whatever
a peer can get wrong, and nothing here depends on what a library happens to raise. It is some 200 lines either way.

Source: PS3.8 sections 9.3.2, 9.3.3 and Annex D; PS3.7 Annex D.3.3 (user information sub-items).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from imagerepo.dimse.pdu import InvalidPduError, PduType

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
PROTOCOL_VERSION: Final = 0x0001  # bit 0: version 1

_FIXED: Final = struct.Struct(">H2x16s16s32s")
_ITEM: Final = struct.Struct(">BxH")
_CONTEXT: Final = struct.Struct(">BxBx")
_PDU: Final = struct.Struct(">BxI")
_UINT16: Final = struct.Struct(">H")
_UINT32: Final = struct.Struct(">I")
_UID_LIMIT: Final = 64  # bytes, before padding
_LEAST_MAX_LENGTH: Final = 32  # bytes; a response would be cut into more PDUs than anybody means


class Item(IntEnum):
    """Item types (PS3.8 section 9.3.2, PS3.7 D.3.3)."""

    APPLICATION_CONTEXT = 0x10
    PRESENTATION_CONTEXT_RQ = 0x20
    PRESENTATION_CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ASYNCHRONOUS_WINDOW = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION_NAME = 0x55
    EXTENDED_NEGOTIATION = 0x56


class ContextResult(IntEnum):
    """What became of a proposed context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class ProposedContext:
    """A presentation context as proposed."""

    id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AnsweredContext:
    """A presentation context as answered."""

    id: int
    result: ContextResult
    transfer_syntax: str  # significant on acceptance only


@dataclass(frozen=True, slots=True)
class Role:
    """SCP/SCU role selection for one SOP class (PS3.7 D.3.3.4): which roles the requestor takes."""

    sop_class_uid: str
    scu: bool
    scp: bool


@dataclass(frozen=True, slots=True)
class UserInformation:
    """What the ends tell each other about themselves (PS3.7 D.3.3)."""

    max_length: int  # bytes of the largest PDU it receives, after the header; 0: any
    implementation_class_uid: str
    implementation_version: str
    asynchronous_window: tuple[int, int] | None  # operations invoked, performed; None: not negotiated
    roles: tuple[Role, ...]
    extended: tuple[tuple[str, bytes], ...]  # SOP class and its service-class-specific information


@dataclass(frozen=True, slots=True)
class AssociateRequest:
    """An A-ASSOCIATE-RQ PDU."""

    protocol_version: int
    called: str
    calling: str
    application_context: str
    contexts: tuple[ProposedContext, ...]
    user: UserInformation
    ae_fields: bytes  # called and calling titles and what is reserved, to be sent back


def parse_request(body: memoryview) -> AssociateRequest:
    """Read the body of an A-ASSOCIATE-RQ PDU.

    Raises:
        InvalidPduError: it is malformed; the message names the item.
    """
    if len(body) < _FIXED.size:
        raise InvalidPduError(f"an A-ASSOCIATE-RQ of {len(body)} bytes")
    version, called, calling, _ = _FIXED.unpack_from(body)
    application_context = ""
    contexts: dict[int, ProposedContext] = {}
    user: UserInformation | None = None
    for kind, value in _items(body[_FIXED.size :]):
        if kind == Item.APPLICATION_CONTEXT:
            application_context = _uid(value)
        elif kind == Item.PRESENTATION_CONTEXT_RQ:
            context = _context(value)
            if context.id in contexts:
                raise InvalidPduError(f"presentation context {context.id} is proposed twice")
            contexts[context.id] = context
        elif kind == Item.USER_INFORMATION:
            user = _user(value)
    if not contexts or user is None:
        raise InvalidPduError("an A-ASSOCIATE-RQ without presentation contexts or user information")
    return AssociateRequest(
        version,
        _ae_title(called),
        _ae_title(calling),
        application_context,
        tuple(contexts.values()),
        user,
        bytes(body[2 : _FIXED.size]),
    )


def is_ae_title(text: str) -> bool:
    """Whether `text` may be an AE title: ASCII without control characters and backslash (PS3.5 Table 6.2-1, AE)."""
    return bool(text) and text.isascii() and text.isprintable() and "\\" not in text


def encode_accept(request: AssociateRequest, contexts: Sequence[AnsweredContext], user: UserInformation) -> bytes:
    """The A-ASSOCIATE-AC PDU that answers `request` (PS3.8 section 9.3.3)."""
    parts = [
        _UINT16.pack(PROTOCOL_VERSION),
        request.ae_fields,  # sent back as received
        _item(Item.APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode()),
        *(
            _item(
                Item.PRESENTATION_CONTEXT_AC,
                _CONTEXT.pack(one.id, one.result) + _item(Item.TRANSFER_SYNTAX, one.transfer_syntax.encode("latin_1")),
            )
            for one in contexts
        ),
        _item(Item.USER_INFORMATION, _encode_user(user)),
    ]
    body = b"".join(parts)
    return _PDU.pack(PduType.ASSOCIATE_AC, len(body)) + body


def _items(body: memoryview) -> Iterator[tuple[int, memoryview]]:
    position, end = 0, len(body)
    while position < end:
        if end - position < _ITEM.size:
            raise InvalidPduError(f"{end - position} bytes after the last item")
        kind, length = _ITEM.unpack_from(body, position)
        position += _ITEM.size
        if length > end - position:
            raise InvalidPduError(f"item {kind:02X}H of {length} bytes where {end - position} are left")
        yield kind, body[position : position + length]
        position += length


def _context(value: memoryview) -> ProposedContext:
    if len(value) < _CONTEXT.size:
        raise InvalidPduError("a presentation context item without its ID")
    context_id, _ = _CONTEXT.unpack_from(value)
    if not context_id % 2:
        raise InvalidPduError(f"presentation context ID {context_id} is not odd")
    abstract_syntax = ""
    transfer_syntaxes: list[str] = []
    for kind, inner in _items(value[_CONTEXT.size :]):
        if kind == Item.ABSTRACT_SYNTAX:
            abstract_syntax = _uid(inner)
        elif kind == Item.TRANSFER_SYNTAX:
            transfer_syntaxes.append(_uid(inner))
    if not abstract_syntax or not transfer_syntaxes:
        raise InvalidPduError(f"presentation context {context_id} lacks its abstract syntax or transfer syntaxes")
    return ProposedContext(context_id, abstract_syntax, tuple(transfer_syntaxes))


def _user(value: memoryview) -> UserInformation:
    max_length = 0
    class_uid = version = ""
    window: tuple[int, int] | None = None
    roles: list[Role] = []
    extended: list[tuple[str, bytes]] = []
    for kind, inner in _items(value):
        if kind == Item.MAXIMUM_LENGTH:
            max_length = _max_length(inner)
        elif kind == Item.IMPLEMENTATION_CLASS_UID:
            class_uid = _uid(inner)
        elif kind == Item.IMPLEMENTATION_VERSION_NAME:
            version = str(inner[:16], "latin_1")
        elif kind == Item.ASYNCHRONOUS_WINDOW:
            window = _window(inner)
        elif kind == Item.ROLE_SELECTION:
            roles.append(_role(inner))
        elif kind == Item.EXTENDED_NEGOTIATION:
            uid, rest = _uid_and_rest(inner)
            extended.append((uid, bytes(rest)))
    return UserInformation(max_length, class_uid, version, window, tuple(roles), tuple(extended))


def _max_length(value: memoryview) -> int:
    if len(value) != _UINT32.size:
        raise InvalidPduError(f"a maximum length item of {len(value)} bytes")
    max_length = _UINT32.unpack(value)[0]
    if 0 < max_length < _LEAST_MAX_LENGTH:
        raise InvalidPduError(f"a maximum length of {max_length} bytes leaves no room for a value")
    return max_length


def _window(value: memoryview) -> tuple[int, int]:
    if len(value) != 2 * _UINT16.size:
        raise InvalidPduError(f"an asynchronous operations window item of {len(value)} bytes")
    return _UINT16.unpack_from(value)[0], _UINT16.unpack_from(value, 2)[0]


def _role(value: memoryview) -> Role:
    uid, rest = _uid_and_rest(value)
    if len(rest) != 2:
        raise InvalidPduError(f"role selection for {uid} with {len(rest)} bytes instead of 2")
    return Role(uid, scu=rest[0] == 1, scp=rest[1] == 1)


def _encode_user(user: UserInformation) -> bytes:
    parts = [
        _item(Item.MAXIMUM_LENGTH, _UINT32.pack(user.max_length)),
        _item(Item.IMPLEMENTATION_CLASS_UID, user.implementation_class_uid.encode()),
    ]
    if user.asynchronous_window is not None:
        parts.append(_item(Item.ASYNCHRONOUS_WINDOW, b"".join(map(_UINT16.pack, user.asynchronous_window))))
    for role in user.roles:
        uid = role.sop_class_uid.encode("latin_1")
        parts.append(_item(Item.ROLE_SELECTION, _UINT16.pack(len(uid)) + uid + bytes((role.scu, role.scp))))
    parts.append(_item(Item.IMPLEMENTATION_VERSION_NAME, user.implementation_version.encode()))
    for sop_class_uid, information in user.extended:
        uid = sop_class_uid.encode("latin_1")
        parts.append(_item(Item.EXTENDED_NEGOTIATION, _UINT16.pack(len(uid)) + uid + information))
    return b"".join(parts)


def _item(kind: Item, value: bytes) -> bytes:
    return _ITEM.pack(kind, len(value)) + value


def _uid_and_rest(value: memoryview) -> tuple[str, memoryview]:
    if len(value) < _UINT16.size:
        raise InvalidPduError("a negotiation item without its SOP class")
    end = _UINT16.size + _UINT16.unpack_from(value)[0]
    if end > len(value):
        raise InvalidPduError("a negotiation item whose SOP class is longer than the item")
    return _uid(value[_UINT16.size : end]), value[end:]


def _uid(value: memoryview) -> str:
    # PS3.8 Annex F sends UIDs unpadded; padded ones occur.
    text = str(value, "latin_1").rstrip("\0 ")
    if len(text) > _UID_LIMIT:
        raise InvalidPduError(f"a UID of {len(text)} characters")
    return text


def _ae_title(value: bytes) -> str:
    return value.decode("latin_1").strip("\0 ")
