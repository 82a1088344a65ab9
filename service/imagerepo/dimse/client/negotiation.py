"""The requestor's side of establishing an association: what we propose, and what came of it.

Source: PS3.8 sections 9.3.2 to 9.3.4 (A-ASSOCIATE-RQ, -AC, -RJ), PS3.7 Annex D.3 (user information).
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from imagerepo.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from imagerepo.dimse.associate import (
    APPLICATION_CONTEXT,
    PROTOCOL_VERSION,
    AnsweredContext,
    ContextResult,
    Item,
    ProposedContext,
    Role,
    UserInformation,
    encode_item,
    encode_user,
    items,
    parse_user,
    read_uid,
)
from imagerepo.dimse.negotiate import DEFAULT_ROLES, PresentationContext, Roles
from imagerepo.dimse.pdu import InvalidPduError, PduType

MOST_CONTEXTS: Final = 128
"""Presentation contexts in one association: IDs are the odd numbers of a byte."""

_FIXED: Final = struct.Struct(">H2x16s16s32x")
_PDU: Final = struct.Struct(">BxI")
_NUMBER: Final = struct.Struct(">B3x")
_ANSWER: Final = struct.Struct(">BxBx")
_RESULTS: Final = {int(one): one for one in ContextResult}


@dataclass(frozen=True, slots=True)
class Proposal:
    """All that we ask for in an association request."""

    called: str
    calling: str
    contexts: tuple[ProposedContext, ...]
    max_pdu: int  # bytes of the largest PDU that we receive, after its header
    roles: tuple[Role, ...] = ()
    extended: tuple[tuple[str, bytes], ...] = ()  # SOP class and its service-class-specific information

    def encode(self) -> bytes:
        """The A-ASSOCIATE-RQ PDU (PS3.8 section 9.3.2)."""
        user = UserInformation(
            max_length=self.max_pdu,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION_NAME,
            asynchronous_window=None,
            roles=self.roles,
            extended=self.extended,
        )
        parts = [
            _FIXED.pack(PROTOCOL_VERSION, _ae_title(self.called), _ae_title(self.calling)),
            encode_item(Item.APPLICATION_CONTEXT, APPLICATION_CONTEXT.encode()),
            *(encode_item(Item.PRESENTATION_CONTEXT_RQ, _context(one)) for one in self.contexts),
            encode_item(Item.USER_INFORMATION, encode_user(user)),
        ]
        body = b"".join(parts)
        return _PDU.pack(PduType.ASSOCIATE_RQ, len(body)) + body


@dataclass(frozen=True, slots=True)
class Accepted:
    """What the acceptor agreed to."""

    contexts: Mapping[int, PresentationContext]  # the accepted ones, by ID
    answers: Mapping[int, AnsweredContext]  # to all that it answered
    user: UserInformation


def propose(kinds: Iterable[tuple[str, Sequence[str]]]) -> tuple[ProposedContext, ...]:
    """Presentation contexts of abstract syntaxes with their transfer syntaxes, at most 128, in order."""
    made = tuple(
        ProposedContext(2 * number + 1, abstract, tuple(syntaxes)) for number, (abstract, syntaxes) in enumerate(kinds)
    )
    assert len(made) <= MOST_CONTEXTS, "more presentation contexts than an association can have"
    return made


def parse_accept(body: memoryview, proposal: Proposal) -> Accepted:
    """Read the body of an A-ASSOCIATE-AC PDU (PS3.8 section 9.3.3).

    Raises:
        InvalidPduError: it is malformed, or accepts what was not proposed.
    """
    if len(body) < _FIXED.size:
        raise InvalidPduError(f"an A-ASSOCIATE-AC of {len(body)} bytes")
    proposed = {one.id: one for one in proposal.contexts}
    answers: dict[int, AnsweredContext] = {}
    user: UserInformation | None = None
    for kind, value in items(body[_FIXED.size :]):
        if kind == Item.PRESENTATION_CONTEXT_AC:
            answer = _answer(value)
            if answer.id not in proposed:
                raise InvalidPduError(f"an answer to presentation context {answer.id}, which was not proposed")
            answers[answer.id] = answer
        elif kind == Item.USER_INFORMATION:
            user = parse_user(value)
    if user is None:
        raise InvalidPduError("an A-ASSOCIATE-AC without user information")
    return Accepted(_accepted(proposed, answers, user), answers, user)


def _accepted(
    proposed: Mapping[int, ProposedContext], answers: Mapping[int, AnsweredContext], user: UserInformation
) -> dict[int, PresentationContext]:
    roles = {one.sop_class_uid: Roles(scu=one.scu, scp=one.scp) for one in user.roles}
    extended = dict(user.extended)
    contexts: dict[int, PresentationContext] = {}
    for answer in answers.values():
        if answer.result is not ContextResult.ACCEPTANCE:
            continue
        asked = proposed[answer.id]
        if answer.transfer_syntax not in asked.transfer_syntaxes:
            raise InvalidPduError(f"transfer syntax {answer.transfer_syntax!r} accepted, which was not proposed")
        contexts[answer.id] = PresentationContext(
            answer.id,
            asked.abstract_syntax,
            answer.transfer_syntax,
            roles.get(asked.abstract_syntax, DEFAULT_ROLES),
            extended.get(asked.abstract_syntax, b""),
        )
    return contexts


def _answer(value: memoryview) -> AnsweredContext:
    if len(value) < _ANSWER.size:
        raise InvalidPduError("an answered presentation context without its result")
    context_id, result = _ANSWER.unpack_from(value)
    syntax = ""
    if result == ContextResult.ACCEPTANCE:
        syntaxes = [read_uid(inner) for kind, inner in items(value[_ANSWER.size :]) if kind == Item.TRANSFER_SYNTAX]
        if len(syntaxes) != 1:
            raise InvalidPduError(f"presentation context {context_id} accepted with {len(syntaxes)} transfer syntaxes")
        syntax = syntaxes[0]
    return AnsweredContext(context_id, _RESULTS.get(result, ContextResult.NO_REASON), syntax)


def _context(one: ProposedContext) -> bytes:
    syntaxes = (encode_item(Item.TRANSFER_SYNTAX, syntax.encode("ascii")) for syntax in one.transfer_syntaxes)
    abstract = encode_item(Item.ABSTRACT_SYNTAX, one.abstract_syntax.encode("ascii"))
    return _NUMBER.pack(one.id) + abstract + b"".join(syntaxes)


def _ae_title(text: str) -> bytes:
    return text.encode("ascii").ljust(16)
