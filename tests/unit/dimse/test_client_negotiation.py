"""What we propose is what an acceptor reads; what it answers is taken as the standard has it, or refused."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.dimse.associate import (
    AnsweredContext,
    ContextResult,
    Role,
    UserInformation,
    encode_accept,
    parse_request,
)
from imagerepo.dimse.client.negotiation import MOST_CONTEXTS, Proposal, parse_accept, propose
from imagerepo.dimse.pdu import InvalidPduError

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
PROPOSAL = Proposal(
    "PACS",
    "OURS",
    propose([(CT, (EXPLICIT, IMPLICIT)), (MR, (IMPLICIT,))]),
    65536,
    (Role(CT, scu=False, scp=True),),
    ((CT, b"\1\0"),),
)


def accepted(*contexts: AnsweredContext, roles: tuple[Role, ...] = ()) -> memoryview:
    request = parse_request(memoryview(PROPOSAL.encode())[6:])
    user = UserInformation(32768, "1.2.3", "PEER", None, roles, ((CT, b"\1"),))
    return memoryview(encode_accept(request, contexts, user))[6:]


def test_a_proposal_reads_as_it_was_meant() -> None:
    request = parse_request(memoryview(PROPOSAL.encode())[6:])
    assert (request.called, request.calling, request.contexts) == ("PACS", "OURS", PROPOSAL.contexts)
    assert request.user.max_length == 65536
    assert request.user.roles == PROPOSAL.roles
    assert request.user.extended == PROPOSAL.extended


def test_context_ids_are_odd_and_at_most_128() -> None:
    made = propose([(CT, (EXPLICIT,))] * MOST_CONTEXTS)
    assert [one.id for one in made] == list(range(1, 256, 2))


def test_what_was_accepted_is_known_with_roles_and_extended_negotiation() -> None:
    answers = (
        AnsweredContext(1, ContextResult.ACCEPTANCE, IMPLICIT),
        AnsweredContext(3, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT),
    )
    found = parse_accept(accepted(*answers, roles=(Role(CT, scu=False, scp=True),)), PROPOSAL)
    (context,) = found.contexts.values()
    assert (context.id, context.abstract_syntax, context.transfer_syntax) == (1, CT, IMPLICIT)
    assert (context.roles.scu, context.roles.scp, context.extended) == (False, True, b"\1")
    assert found.answers[3].result is ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
    assert found.user.max_length == 32768


@pytest.mark.parametrize(
    "answer",
    [AnsweredContext(5, ContextResult.ACCEPTANCE, IMPLICIT), AnsweredContext(3, ContextResult.ACCEPTANCE, EXPLICIT)],
)
def test_what_was_not_proposed_is_not_accepted(answer: AnsweredContext) -> None:
    with pytest.raises(InvalidPduError, match="not proposed"):
        parse_accept(accepted(answer), PROPOSAL)


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(noise: bytes) -> None:
    whole = bytes(accepted(AnsweredContext(1, ContextResult.ACCEPTANCE, IMPLICIT)))
    for body in (noise, whole[:68] + noise, whole + noise, whole[: len(noise)]):
        try:
            parse_accept(memoryview(body), PROPOSAL)
        except InvalidPduError:
            continue


@given(st.integers(0, 400), st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(at: int, value: int) -> None:
    body = bytearray(accepted(AnsweredContext(1, ContextResult.ACCEPTANCE, IMPLICIT)))
    body[at % len(body)] = value
    with suppress(InvalidPduError):
        parse_accept(memoryview(body), PROPOSAL)
