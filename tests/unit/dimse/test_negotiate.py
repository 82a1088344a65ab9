import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import AllTransferSyntaxes
from pynetdicom import AllStoragePresentationContexts, build_context
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification

from imagerepo.dimse.associate import (
    AssociateRequest,
    ContextResult,
    Identity,
    IdentityType,
    ProposedContext,
    Role,
    encode_accept,
    parse_request,
)
from imagerepo.dimse.negotiate import Agreement, Roles, offer, storage_sop_classes, transfer_syntaxes
from imagerepo.dimse.pdu import InvalidPduError
from imagerepo.dimse.query_retrieve import FIND, Model
from imagerepo.settings import Dimse
from tests.wire.dimse_peer import CT, EXPLICIT, IMPLICIT, associate_rq, item

MR = "1.2.840.10008.5.1.4.1.1.4"
STUDY_FIND = Model.STUDY_ROOT.find
ROLE = item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\1\1")
WINDOW = item(0x53, struct.pack(">HH", 0, 7))
EXTENDED = item(0x56, struct.pack(">H", len(CT)) + CT.encode() + b"\2\0\0\0\0\0")
IDENTITY = item(0x58, b"\1\1\0\3abc\0\0")
REAL = associate_rq(extra=ROLE + WINDOW + EXTENDED + IDENTITY)


def parse(pdu: bytes) -> AssociateRequest:
    return parse_request(memoryview(pdu)[6:])


def test_a_request_is_read_as_another_implementation_wrote_it() -> None:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title = "CALLER"
    primitive.called_ae_title = "CALLED TITLE"
    length = MaximumLengthNotification()
    length.maximum_length_received = 32768
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = "1.2.3.4"
    primitive.user_information = [length, implementation]
    proposed = build_context(CT, [EXPLICIT, IMPLICIT])
    proposed.context_id = 5
    primitive.presentation_context_definition_list = [proposed]
    got = parse(A_ASSOCIATE_RQ(primitive).encode())
    assert (got.called, got.calling) == ("CALLED TITLE", "CALLER")
    assert got.contexts == (ProposedContext(5, CT, (EXPLICIT, IMPLICIT)),)
    assert got.user.max_length == 32768
    assert got.user.implementation_class_uid == "1.2.3.4"


def test_our_answer_is_read_by_another_implementation() -> None:
    request = parse(REAL)
    agreement = offer(Dimse()).agree(request)
    pdu = A_ASSOCIATE_AC()
    pdu.decode(encode_accept(request, agreement.answers, agreement.user))
    primitive = pdu.to_primitive()
    assert [(one.context_id, one.result) for one in primitive.presentation_context_definition_results_list] == [
        (1, 0),
        (3, 0),
    ]
    assert primitive.maximum_length_received == 256 * 1024
    said = {type(one).__name__: one for one in primitive.user_information}
    window = said["AsynchronousOperationsWindowNegotiation"]
    assert (window.maximum_number_operations_invoked, window.maximum_number_operations_performed) == (1, 1)
    role = said["SCP_SCU_RoleSelectionNegotiation"]
    assert (role.sop_class_uid, role.scu_role, role.scp_role) == (CT, True, True)
    assert said["ImplementationVersionNameNotification"].implementation_version_name.startswith("IMAGEREPO")


def test_what_was_not_negotiated_is_not_answered() -> None:
    user = offer(Dimse()).agree(parse(associate_rq())).user
    assert user.asynchronous_window is None
    assert user.roles == ()
    assert offer(Dimse()).agree(parse(REAL)).user.roles == (Role(CT, scu=True, scp=True),)


def sub_item(uid: str, rest: bytes) -> bytes:
    return struct.pack(">H", len(uid)) + uid.encode() + rest


def agreed(*contexts: tuple[int, str, tuple[str, ...]], extra: bytes = b"") -> Agreement:
    offered = offer(Dimse(), FIND)
    return offered.agree(parse(associate_rq(contexts=contexts, extra=extra)))


def test_what_is_no_image_is_sent_without_compression_of_pixels() -> None:
    jpeg, rle = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"
    agreement = agreed((1, STUDY_FIND, (jpeg, EXPLICIT)), (3, STUDY_FIND, (jpeg, rle)), (5, CT, (jpeg,)))
    assert [one.result for one in agreement.answers] == [0, 4, 0]
    assert agreement.contexts[1].transfer_syntax == EXPLICIT


def test_a_requestor_may_be_provider_of_storage_alone() -> None:
    roles = item(0x54, sub_item(CT, b"\0\1")) + item(0x54, sub_item(STUDY_FIND, b"\1\1"))
    agreement = agreed((1, STUDY_FIND, (IMPLICIT,)), (3, CT, (IMPLICIT,)), (5, MR, (IMPLICIT,)), extra=roles)
    assert agreement.contexts[3].roles == Roles(scu=False, scp=True)
    assert agreement.contexts[1].roles == agreement.contexts[5].roles == Roles(scu=True, scp=False)
    assert agreement.user.roles == (Role(CT, scu=False, scp=True), Role(STUDY_FIND, scu=True, scp=False))


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        (b"", None),
        (b"\1", b"\1"),
        (b"\0\1\1\1\1", b"\0\1\1\0\0"),
        (b"\1\1\1\1\1\1\1", b"\1\1\1\0\0"),
    ],
)
def test_of_queries_we_agree_to_what_we_do(asked: bytes, answered: bytes | None) -> None:
    agreement = agreed((1, STUDY_FIND, (IMPLICIT,)), extra=item(0x56, sub_item(STUDY_FIND, asked)))
    assert agreement.user.extended == (((STUDY_FIND, answered),) if answered else ())
    assert agreement.contexts[1].extended == (answered or b"")


def test_extended_negotiation_of_what_was_not_accepted_is_not_answered() -> None:
    assert agreed((1, CT, (IMPLICIT,)), extra=item(0x56, sub_item(STUDY_FIND, b"\1"))).user.extended == ()


def test_a_user_identity_is_read_and_its_passcode_never_shown() -> None:
    identity = parse(REAL).user.identity
    assert identity == Identity(IdentityType.USERNAME, True, b"abc", b"")
    assert "secret" not in repr(Identity(IdentityType.USERNAME_AND_PASSCODE, False, b"abc", b"secret"))


def test_a_user_identity_is_answered_once_it_is_known() -> None:
    request = parse(REAL)
    agreement = offer(Dimse()).agree(request)
    assert agreement.user.identity_response is None
    pdu = A_ASSOCIATE_AC()
    pdu.decode(encode_accept(request, agreement.answers, replace(agreement.user, identity_response=b"ticket")))
    said = {type(one).__name__: one for one in pdu.to_primitive().user_information}
    assert said["UserIdentityNegotiation"].server_response == b"ticket"


def answers(*contexts: tuple[int, str, tuple[str, ...]], settings: Dimse | None = None) -> list[tuple[int, str]]:
    agreement = offer(settings or Dimse()).agree(parse(associate_rq(contexts=contexts)))
    return [(one.result, one.transfer_syntax) for one in agreement.answers]


def test_the_first_known_syntax_that_is_proposed_is_accepted() -> None:
    assert answers((1, CT, ("1.9.9", EXPLICIT, IMPLICIT))) == [(0, EXPLICIT)]
    assert answers((1, CT, (IMPLICIT, EXPLICIT))) == [(0, IMPLICIT)]


def test_unknown_abstract_and_transfer_syntaxes_are_told_apart() -> None:
    assert [result for result, _ in answers((1, "1.9.9", (IMPLICIT,)), (3, CT, ("1.9.9",)))] == [3, 4]


def test_private_uids_are_accepted_by_setting() -> None:
    private = Dimse(accepted_sop_classes=("1.9.1",), accepted_transfer_syntaxes=("1.9.2",))
    assert answers((1, "1.9.1", ("1.9.2",)), settings=private) == [(ContextResult.ACCEPTANCE, "1.9.2")]


@pytest.mark.parametrize("context", AllStoragePresentationContexts, ids=lambda one: one.abstract_syntax.name)
def test_every_storage_class_that_pynetdicom_knows_is_accepted(context) -> None:
    assert context.abstract_syntax in storage_sop_classes()


def test_every_transfer_syntax_that_pydicom_knows_is_accepted() -> None:
    assert set(AllTransferSyntaxes) <= transfer_syntaxes()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(67),
        bytes(68),
        REAL[6:-1],
        REAL[6:] + b"\x10",
        associate_rq(contexts=())[6:],
        associate_rq(contexts=((2, CT, (IMPLICIT,)),))[6:],
        associate_rq(contexts=((1, CT, ()),))[6:],
        associate_rq(contexts=((1, "", (IMPLICIT,)),))[6:],
        associate_rq(contexts=((1, CT, (IMPLICIT,)), (1, CT, (IMPLICIT,))))[6:],
        associate_rq(contexts=((1, "1" * 100, (IMPLICIT,)),))[6:],
        associate_rq(max_length=3)[6:],
        associate_rq(extra=item(0x53, b"\0"))[6:],
        associate_rq(extra=item(0x54, b"\0\3a"))[6:],
        associate_rq(extra=item(0x54, b"\0\1a\1"))[6:],
        associate_rq(extra=item(0x58, b"\1\0\0"))[6:],
        associate_rq(extra=item(0x58, b"\1\0\0\5abc\0\0"))[6:],
        associate_rq(extra=item(0x58, b"\1\0\0\3abc"))[6:],
    ],
)
def test_a_malformed_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidPduError):
        parse_request(memoryview(body))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_invalid(body: bytes) -> None:
    agree_or_refuse(body)


@settings(max_examples=500, deadline=None)
@given(st.integers(0, len(REAL) - 6), st.binary(min_size=1, max_size=4), st.integers(0, 4))
def test_a_mutated_request_is_a_request_or_invalid(at: int, change: bytes, dropped: int) -> None:
    body = REAL[6:]
    agree_or_refuse(body[:at] + change + body[at + dropped :])


def agree_or_refuse(body: bytes) -> None:
    try:
        request = parse_request(memoryview(body))
    except InvalidPduError:
        return
    agreement = offer(Dimse()).agree(request)
    assert len(agreement.answers) == len(request.contexts)
    assert encode_accept(request, agreement.answers, agreement.user)[0] == 2
