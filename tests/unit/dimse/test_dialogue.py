"""Messages on an association, with a peer that writes its bytes by hand."""

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from imagerepo.dimse.dialogue import Dialogue, InterruptedByPduError, Parties
from imagerepo.dimse.messages import Command, CommandField, Element, MalformedCommandError, Status, parse
from imagerepo.dimse.negotiate import Agreement, PresentationContext
from imagerepo.dimse.pdu import PduReader, StoppedError
from imagerepo.dimse.services import Entry, Operation, Request, Services
from imagerepo.dimse.states import EVENT_OF_PDU, Event
from imagerepo.dimse.transport import PlainTransport, TransportClosedError
from imagerepo.model.caller import Caller, Protocol
from tests.wire.dimse_peer import (
    CT,
    IMPLICIT,
    RELEASE_RQ,
    VERIFICATION,
    command,
    echo_command,
    message,
    p_data,
    pdv,
    us,
)

ECHO, STORAGE = PresentationContext(1, VERIFICATION, IMPLICIT), PresentationContext(3, CT, IMPLICIT)
CALLER = Caller("default", "ae:PEER", "127.0.0.1", Protocol.DIMSE, frozenset())
N_REPORT = {Element.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RQ, Element.AFFECTED_SOP_CLASS_UID: CT}


def cancel(message_id: int) -> bytes:
    return message(1, command(us(0x100, 0xFFF), us(0x120, message_id), us(0x800, 0x101)))


def answer(message_id: int, data_set: bytes = b"") -> bytes:
    kind = 1 if data_set else 0x101
    body = command(us(0x100, 0x8100), us(0x120, message_id), us(0x800, kind), us(0x900, 0))
    return message(3, body, data_set)


@dataclass
class Doing:
    """A service that does what a test says."""

    act: Callable[[Request], None]
    received: bytearray = field(default_factory=bytearray)
    closed: int = 0

    def __call__(self, request: Request) -> Operation:
        doing = self

        class One:
            def write(self, piece: memoryview) -> None:
                doing.received += piece

            def complete(self) -> None:
                doing.act(request)

            def close(self) -> None:
                doing.closed += 1

        return One()


class Talk:
    """A dialogue and its peer."""

    def __init__(self, act: Callable[[Request], None]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            self.peer = socket.create_connection(listening.getsockname(), timeout=10)
            self.connection, _ = listening.accept()
        self.reader = PduReader(PlainTransport(self.connection), 5)
        self.doing = Doing(act)
        table = [Entry("test", CommandField.C_ECHO_RQ, frozenset({VERIFICATION}), self.doing)]
        agreement = Agreement({1: ECHO, 3: STORAGE}, (), None, 128)  # pyright: ignore[reportArgumentType] - not looked at
        parties = Parties(CALLER, "PEER", "US")
        self.dialogue = Dialogue(self.reader, agreement, Services(table), parties, self.next_pdu)

    def next_pdu(self) -> Event:
        kind, length = self.reader.header()
        if EVENT_OF_PDU[kind] is Event.P_DATA_PDU:
            self.reader.unread = length
        else:
            self.reader.body(length)
        return EVENT_OF_PDU[kind]

    def serve(self, *sent: bytes) -> None:
        """Let the peer send this; serve the first PDU."""
        self.peer.sendall(b"".join(sent))
        self.next_pdu()
        self.dialogue.receive()

    def close(self) -> None:
        self.peer.close()
        self.connection.close()

    def commands(self) -> list[Command]:
        """Command sets that the peer has been sent."""
        self.connection.close()
        stream = b""
        while piece := self.peer.recv(1 << 16):
            stream += piece
        found: list[Command] = []
        at, pending = 0, b""
        while at < len(stream):
            length = int.from_bytes(stream[at + 2 : at + 6], "big")
            control, value = stream[at + 11], stream[at + 12 : at + 6 + length]
            if control & 1:
                pending += value
                if control & 2:
                    found.append(parse(pending))
                    pending = b""
            at += 6 + length
        return found


@pytest.fixture
def talk() -> Iterator[Callable[[Callable[[Request], None]], Talk]]:
    opened: list[Talk] = []

    def make(act: Callable[[Request], None]) -> Talk:
        opened.append(Talk(act))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_a_call_returns_its_response_and_remembers_a_cancel_that_came_before(talk) -> None:
    seen: list[object] = []

    def act(request: Request) -> None:
        seen.append(request.cancelled())
        response = request.exchange.call(STORAGE, N_REPORT)
        seen.extend((response.number(Element.STATUS), request.cancelled()))
        request.respond(Status.SUCCESS)

    one = talk(act)
    # The peer's PDU with the cancel ends before the response begins: both lie there when the call waits.
    one.peer.sendall(message(1, echo_command(5)))
    one.next_pdu()
    later = [cancel(5), answer(1, b"ab")]
    one.doing.act = lambda request: (seen.append(request.cancelled()), one.peer.sendall(b"".join(later)), act(request))
    one.dialogue.receive()
    assert seen == [False, True, 0, True]
    report, response = one.commands()
    assert (report.field, report.message_id, report.has_data_set) == (CommandField.N_EVENT_REPORT_RQ, 1, False)
    assert (response.field, response.message_id) == (0x8030, 5)
    assert one.doing.closed == 1


def test_looking_for_a_cancel_does_not_wait_for_the_rest_of_one(talk) -> None:
    seen: list[bool] = []

    def act(request: Request) -> None:
        whole = cancel(5)
        one.peer.sendall(whole[:20])
        seen.append(request.cancelled())
        one.peer.sendall(whole[20:])
        while not request.cancelled():
            pass
        request.respond(Status.SUCCESS)

    one = talk(act)
    one.serve(message(1, echo_command(5)))
    assert seen == [False]


def test_a_cancel_of_another_message_cancels_nothing(talk) -> None:
    seen: list[bool] = []
    one = talk(lambda request: seen.append(request.cancelled()))
    one.serve(message(1, echo_command(5)), cancel(6))
    assert seen == [False]


def test_a_request_that_comes_too_early_waits_for_its_turn(talk) -> None:
    seen: list[tuple[int, bool]] = []

    def act(request: Request) -> None:
        seen.append((request.command.message_id, request.cancelled()))
        request.respond(Status.SUCCESS)

    one = talk(act)
    one.serve(message(1, echo_command(1)), message(1, echo_command(2)))
    one.next_pdu()
    one.dialogue.receive()
    assert seen == [(1, False), (2, False)]


def test_a_request_amid_a_call_is_done_once_the_caller_has_responded(talk) -> None:
    order: list[str] = []

    def act(request: Request) -> None:
        request.respond(Status.SUCCESS)
        order.append(f"begin {request.command.message_id}")
        if request.command.message_id == 1:
            request.exchange.call(STORAGE, N_REPORT)
        order.append(f"end {request.command.message_id}")

    one = talk(act)
    one.serve(message(1, echo_command(1)), message(1, echo_command(2)), answer(1))
    assert order == ["begin 1", "begin 2", "end 2", "end 1"]
    assert [command.field for command in one.commands()] == [0x8030, 0x0100, 0x8030]


def test_a_request_amid_a_call_of_one_that_is_not_answered_ends_the_association(talk) -> None:
    one = talk(lambda request: request.exchange.call(STORAGE, N_REPORT))
    with pytest.raises(MalformedCommandError, match="further request"):
        one.serve(message(1, echo_command(1)), message(1, echo_command(2)))
    assert one.doing.closed == 1


@pytest.mark.parametrize("wrong", [answer(2), answer(1) + answer(1)])
def test_a_response_to_nothing_that_was_asked_ends_the_association(talk, wrong: bytes) -> None:
    def act(request: Request) -> None:
        request.exchange.call(STORAGE, N_REPORT)
        request.exchange.call(STORAGE, N_REPORT)

    one = talk(act)
    with pytest.raises(MalformedCommandError, match="nothing that was asked"):
        one.serve(message(1, echo_command(1)), wrong)


def test_a_response_without_a_status_is_no_success(talk) -> None:
    one = talk(lambda request: request.exchange.call(STORAGE, N_REPORT))
    empty = message(3, command(us(0x100, 0x8100), us(0x120, 1), us(0x800, 0x101)))
    with pytest.raises(MalformedCommandError, match="without a status"):
        one.serve(message(1, echo_command(1)), empty)


@pytest.mark.parametrize(
    "ask", [lambda request: request.exchange.call(STORAGE, N_REPORT), lambda request: request.cancelled()]
)
def test_a_release_amid_an_operation_is_left_to_the_state_machine(talk, ask: Callable[[Request], object]) -> None:
    one = talk(ask)
    with pytest.raises(InterruptedByPduError) as raised:
        one.serve(message(1, echo_command(1)), RELEASE_RQ)
    assert raised.value.event is Event.RELEASE_RQ_PDU
    assert one.doing.closed == 1


def test_an_operation_learns_that_its_peer_has_gone(talk) -> None:
    def act(request: Request) -> None:
        one.peer.close()
        while not request.cancelled():
            pass

    one = talk(act)
    with pytest.raises(TransportClosedError):
        one.serve(message(1, echo_command(1)))


def test_an_operation_learns_that_it_has_to_stop(talk) -> None:
    def act(request: Request) -> None:
        one.reader.stop()
        request.cancelled()

    one = talk(act)
    with pytest.raises(StoppedError):
        one.serve(message(1, echo_command(1)))


def test_pending_responses_sent_at_once_are_whole_messages(talk) -> None:
    one = talk(lambda request: request.respond_each(0xFF00, [b"ab", b"cd"]))
    one.serve(message(1, echo_command(9)))
    responses = one.commands()
    assert [(each.message_id, each.has_data_set, each.number(Element.STATUS)) for each in responses] == [
        (9, True, 0xFF00)
    ] * 2


def test_a_data_set_follows_its_response_in_pdus_that_the_peer_receives(talk) -> None:
    data_set = bytes(range(250)) * 2
    one = talk(lambda request: request.respond(0xFF00, data_set=data_set))
    one.serve(message(1, echo_command(1)))
    one.connection.close()
    stream = b""
    while piece := one.peer.recv(1 << 16):
        stream += piece
    step = 128 - 6
    expected = b"".join(
        p_data(pdv(1, 2 if start + step >= len(data_set) else 0, data_set[start : start + step]))
        for start in range(0, len(data_set), step)
    )
    assert stream.endswith(expected)


def test_tags_are_sent_as_attribute_tags(talk) -> None:
    one = talk(lambda request: request.respond(0xA900, "why", elements={Element.OFFENDING_ELEMENT: (0x0020000D,)}))
    one.serve(message(1, echo_command(1)))
    (response,) = one.commands()
    assert response.elements[Element.OFFENDING_ELEMENT] == bytes.fromhex("20000d00")
    assert response.text(Element.ERROR_COMMENT) == "why"
