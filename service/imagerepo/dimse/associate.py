"""Codec of A-ASSOCIATE-RQ and -AC PDUs.

Our own rather than pynetdicom's primitives: it reads straight from the receive buffer, has one error for whatever
a peer can get wrong, and nothing here depends on what a library happens to raise. It is some 200 lines either way.

Source: PS3.8 sections 9.3.2, 9.3.3 and Annex D; PS3.7 Annex D.3.3 (user information sub-items).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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
    USER_IDENTITY_RQ = 0x58
    USER_IDENTITY_AC = 0x59


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


class IdentityType(IntEnum):
    """How a user tells who they are (PS3.7 Table D.3-14)."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


@dataclass(frozen=True, slots=True)
class Identity:
    """A user identity as sent (PS3.7 D.3.3.7.1). Nothing here is proved."""

    type: int  # an IdentityType, or one of a later edition
    response_requested: bool
    primary: bytes  # the username, ticket, assertion or token
    secondary: bytes = field(repr=False)  # the passcode


@dataclass(frozen=True, slots=True)
class UserInformation:
    """What the ends tell each other about themselves (PS3.7 D.3.3)."""

    max_length: int  # bytes of the largest PDU it receives, after the header; 0: any
    implementation_class_uid: str
    implementation_version: str
    asynchronous_window: tuple[int, int] | None  # operations invoked, performed; None: not negotiated
    roles: tuple[Role, ...]
    extended: tuple[tuple[str, bytes], ...]  # SOP class and its service-class-specific information
    identity: Identity | None = None  # of a request
    identity_response: bytes | None = None  # of an acceptance: whoever asked for one is told that they are known


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
    for kind, value in items(body[_FIXED.size :]):
        if kind == Item.APPLICATION_CONTEXT:
            application_context = read_uid(value)
        elif kind == Item.PRESENTATION_CONTEXT_RQ:
            context = _context(value)
            if context.id in contexts:
                raise InvalidPduError(f"presentation context {context.id} is proposed twice")
            contexts[context.id] = context
        elif kind == Item.USER_INFORMATION:
            user = parse_user(value)
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
        encode_item(Item.APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode()),
        *(
            encode_item(
                Item.PRESENTATION_CONTEXT_AC,
                _CONTEXT.pack(one.id, one.result)
                + encode_item(Item.TRANSFER_SYNTAX, one.transfer_syntax.encode("latin_1")),
            )
            for one in contexts
        ),
        encode_item(Item.USER_INFORMATION, encode_user(user)),
    ]
    body = b"".join(parts)
    return _PDU.pack(PduType.ASSOCIATE_AC, len(body)) + body


def items(body: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Type and value of each item, in order. Raises InvalidPduError."""
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
    for kind, inner in items(value[_CONTEXT.size :]):
        if kind == Item.ABSTRACT_SYNTAX:
            abstract_syntax = read_uid(inner)
        elif kind == Item.TRANSFER_SYNTAX:
            transfer_syntaxes.append(read_uid(inner))
    if not abstract_syntax or not transfer_syntaxes:
        raise InvalidPduError(f"presentation context {context_id} lacks its abstract syntax or transfer syntaxes")
    return ProposedContext(context_id, abstract_syntax, tuple(transfer_syntaxes))


def parse_user(value: memoryview) -> UserInformation:
    """Read a User Information item. Raises InvalidPduError."""
    max_length = 0
    class_uid = version = ""
    window: tuple[int, int] | None = None
    roles: list[Role] = []
    extended: list[tuple[str, bytes]] = []
    identity: Identity | None = None
    for kind, inner in items(value):
        if kind == Item.MAXIMUM_LENGTH:
            max_length = _max_length(inner)
        elif kind == Item.IMPLEMENTATION_CLASS_UID:
            class_uid = read_uid(inner)
        elif kind == Item.IMPLEMENTATION_VERSION_NAME:
            version = str(inner[:16], "latin_1")
        elif kind == Item.ASYNCHRONOUS_WINDOW:
            window = _window(inner)
        elif kind == Item.ROLE_SELECTION:
            roles.append(_role(inner))
        elif kind == Item.EXTENDED_NEGOTIATION:
            uid, rest = _uid_and_rest(inner)
            extended.append((uid, bytes(rest)))
        elif kind == Item.USER_IDENTITY_RQ:
            identity = _identity(inner)
    return UserInformation(max_length, class_uid, version, window, tuple(roles), tuple(extended), identity)


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


def _identity(value: memoryview) -> Identity:
    fields: list[bytes] = []
    rest = value[2:]
    for _ in range(2):
        if len(rest) < _UINT16.size:
            raise InvalidPduError("a user identity item that ends within a length")
        end = _UINT16.size + _UINT16.unpack_from(rest)[0]
        if end > len(rest):
            raise InvalidPduError("a user identity item whose field is longer than the item")
        fields.append(bytes(rest[_UINT16.size : end]))
        rest = rest[end:]
    return Identity(value[0], value[1] == 1, fields[0], fields[1])


def encode_user(user: UserInformation) -> bytes:
    """A User Information item's value."""
    parts = [
        encode_item(Item.MAXIMUM_LENGTH, _UINT32.pack(user.max_length)),
        encode_item(Item.IMPLEMENTATION_CLASS_UID, user.implementation_class_uid.encode()),
    ]
    if user.asynchronous_window is not None:
        parts.append(encode_item(Item.ASYNCHRONOUS_WINDOW, b"".join(map(_UINT16.pack, user.asynchronous_window))))
    for role in user.roles:
        uid = role.sop_class_uid.encode("latin_1")
        parts.append(encode_item(Item.ROLE_SELECTION, _UINT16.pack(len(uid)) + uid + bytes((role.scu, role.scp))))
    parts.append(encode_item(Item.IMPLEMENTATION_VERSION_NAME, user.implementation_version.encode()))
    for sop_class_uid, information in user.extended:
        uid = sop_class_uid.encode("latin_1")
        parts.append(encode_item(Item.EXTENDED_NEGOTIATION, _UINT16.pack(len(uid)) + uid + information))
    if user.identity_response is not None:
        answer = user.identity_response
        parts.append(encode_item(Item.USER_IDENTITY_AC, _UINT16.pack(len(answer)) + answer))
    return b"".join(parts)


def encode_item(kind: Item, value: bytes) -> bytes:
    """One item with its header."""
    return _ITEM.pack(kind, len(value)) + value


def _uid_and_rest(value: memoryview) -> tuple[str, memoryview]:
    if len(value) < _UINT16.size:
        raise InvalidPduError("a negotiation item without its SOP class")
    end = _UINT16.size + _UINT16.unpack_from(value)[0]
    if end > len(value):
        raise InvalidPduError("a negotiation item whose SOP class is longer than the item")
    return read_uid(value[_UINT16.size : end]), value[end:]


def read_uid(value: memoryview) -> str:
    """A UID, without padding. Raises InvalidPduError."""
    # PS3.8 Annex F sends UIDs unpadded; padded ones occur.
    text = str(value, "latin_1").rstrip("\0 ")
    if len(text) > _UID_LIMIT:
        raise InvalidPduError(f"a UID of {len(text)} characters")
    return text


def _ae_title(value: bytes) -> str:
    return value.decode("latin_1").strip("\0 ")
