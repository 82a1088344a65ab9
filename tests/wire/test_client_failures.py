"""Peers that do not do their part: one error that names them, what was waited for and what to do; nothing stuck."""

import os
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.data import Bytes
from imagerepo.dimse.client.negotiation import propose
from imagerepo.dimse.client.verification import echo
from imagerepo.dimse.messages import CommandField, Element
from imagerepo.errors import PeerError, PeerFailure
from imagerepo.model.peer import Peer
from tests.harness.raw_acceptor import (
    IMPLICIT,
    VERIFICATION,
    Accepting,
    accepting,
    command_set,
    p_data,
    pdu,
    response,
    us,
)

ECHO = {Element.AFFECTED_SOP_CLASS_UID: VERIFICATION, Element.COMMAND_FIELD: CommandField.C_ECHO_RQ}
ANSWERED = response(0x8030, 1, 0)


PATIENT, IMPATIENT = 20.0, 0.3  # seconds


def peer(port: int, associating: float = PATIENT, responding: float = PATIENT) -> Peer:
    return Peer("PACS", "STORE", "127.0.0.1", port, connect_timeout=associating, response_timeout=responding)


def reject(result: int, source: int, reason: int) -> Callable[[Accepting], None]:
    def script(one: Accepting) -> None:
        one.receive()
        one.send(pdu(3, bytes((0, result, source, reason))))
        one.until_closed()

    return script


def before_accepting(*pdus: bytes) -> Callable[[Accepting], None]:
    def script(one: Accepting) -> None:
        one.receive()
        one.send(*pdus)
        one.until_closed()

    return script


def instead_of_an_answer(*pdus: bytes) -> Callable[[Accepting], None]:
    def script(one: Accepting) -> None:
        one.accept()
        one.receive()
        one.send(*pdus)
        one.until_closed()

    return script


def close_at_once(one: Accepting) -> None:
    one.receive()


def never_associate(one: Accepting) -> None:
    one.until_closed()


def never_answer(one: Accepting) -> None:
    one.accept()
    one.until_closed()


def reset_instead_of_an_answer(one: Accepting) -> None:
    one.accept()
    one.receive()
    one.reset()


def accept_nothing(one: Accepting) -> None:
    one.accept(result=3)
    one.until_closed()


def accept_what_was_not_proposed(one: Accepting) -> None:
    one.accept(syntax="1.2.840.10008.1.2.2")
    one.until_closed()


def accept_another_context(one: Accepting) -> None:
    one.accept(context_id=7)
    one.until_closed()


CASES = {
    "it rejects our AE title": (reject(1, 1, 3), PeerFailure.REJECTED, "does not know our AE title 'ME'"),
    "it rejects its AE title": (reject(1, 1, 7), PeerFailure.REJECTED, "is not called 'STORE'"),
    "it is full": (reject(2, 3, 2), PeerFailure.BUSY, "as many associations as it takes"),
    "it rejects for a reason that nobody knows": (reject(1, 3, 77), PeerFailure.REJECTED, "source 3, reason 77"),
    "it closes at once": (close_at_once, PeerFailure.ABORTED, "is it a DICOM port?"),
    "it never answers the request": (never_associate, PeerFailure.SILENT, "silent for 0.3 s"),
    "it aborts the request": (before_accepting(pdu(7, bytes((0, 0, 2, 1)))), PeerFailure.ABORTED, "unrecognized pdu"),
    "it answers the request with data": (before_accepting(p_data(1, 3, ANSWERED)), PeerFailure.MALFORMED, "P_DATA_TF"),
    "it answers with a banner": (before_accepting(b"SSH-2.0-OpenSSH\r\n"), PeerFailure.MALFORMED, "a DICOM port?"),
    "its rejection is too long": (before_accepting(pdu(3, bytes(9))), PeerFailure.MALFORMED, "9 bytes instead of 4"),
    "its acceptance is cut off": (before_accepting(pdu(2, bytes(40))), PeerFailure.MALFORMED, "of 40 bytes"),
    "its acceptance says nothing": (before_accepting(pdu(2, bytes(68))), PeerFailure.MALFORMED, "user information"),
    "its acceptance is endless": (before_accepting(struct.pack(">BxI", 2, 1 << 31)), PeerFailure.MALFORMED, "PDU of"),
    "it accepts no context": (accept_nothing, PeerFailure.REFUSED, f"{VERIFICATION}: SOP class not supported"),
    "it accepts another syntax": (accept_what_was_not_proposed, PeerFailure.MALFORMED, "was not proposed"),
    "it accepts another context": (accept_another_context, PeerFailure.MALFORMED, "7, which was not proposed"),
    "it never answers": (never_answer, PeerFailure.SILENT, "while its response to a C-ECHO was waited for"),
    "it resets": (reset_instead_of_an_answer, PeerFailure.ABORTED, "the connection ended"),
    "it aborts": (instead_of_an_answer(pdu(7, bytes((0, 0, 0, 0)))), PeerFailure.ABORTED, "its application"),
    "it releases": (instead_of_an_answer(pdu(5, bytes(4))), PeerFailure.ABORTED, "released the association"),
    "it answers a release that nobody asked": (
        instead_of_an_answer(pdu(6, bytes(4))),
        PeerFailure.MALFORMED,
        "a release that was not asked for",
    ),
    "it answers another message": (
        instead_of_an_answer(p_data(1, 3, response(0x8030, 9, 0))),
        PeerFailure.MALFORMED,
        "message 9 instead of 1",
    ),
    "it answers without a status": (
        instead_of_an_answer(p_data(1, 3, command_set(us(0x100, 0x8030), us(0x120, 1), us(0x800, 0x101)))),
        PeerFailure.MALFORMED,
        "without a status",
    ),
    "it answers in a context that it did not accept": (
        instead_of_an_answer(p_data(9, 3, ANSWERED)),
        PeerFailure.MALFORMED,
        "presentation context 9",
    ),
    "it asks something": (
        instead_of_an_answer(p_data(1, 3, command_set(us(0x100, 0x30), us(0x110, 1), us(0x800, 0x101)))),
        PeerFailure.MALFORMED,
        "request 0030H",
    ),
    "it sends data that no command announced": (
        instead_of_an_answer(p_data(1, 2, b"xx")),
        PeerFailure.MALFORMED,
        "no command announced",
    ),
    "it sends a larger PDU than it may": (
        instead_of_an_answer(struct.pack(">BxI", 4, 1 << 30)),
        PeerFailure.MALFORMED,
        "1 to 262144 are accepted",
    ),
    "its command never ends": (
        instead_of_an_answer(*[p_data(1, 1, bytes(30_000))] * 3),
        PeerFailure.MALFORMED,
        "above 65536 bytes",
    ),
    "it declines": (
        instead_of_an_answer(p_data(1, 3, response(0x8030, 1, 0x0122))),
        PeerFailure.DECLINED,
        "SOP class not supported (0122H)",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_one_error_that_names_the_peer_and_the_cause(case: str) -> None:
    script, failure, shown = CASES[case]
    waits = IMPATIENT if failure is PeerFailure.SILENT else PATIENT
    associating = PATIENT if script is never_answer else waits
    with accepting(script) as port:
        with pytest.raises(PeerError) as caught:
            echo(peer(port, associating, waits), "ME")
        assert caught.value.failure is failure
        assert str(caught.value).startswith(f"PACS (STORE at 127.0.0.1:{port})")
        assert shown in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


def test_a_port_that_nobody_listens_on_is_told(free_port: int) -> None:
    with pytest.raises(PeerError, match="nothing listens there") as caught:
        echo(peer(free_port), "ME")
    assert caught.value.failure is PeerFailure.UNREACHABLE


def test_a_name_that_is_not_known_is_told() -> None:
    with pytest.raises(PeerError, match=r"the name 'pacs\.invalid' is not known") as caught:
        echo(Peer("PACS", "STORE", "pacs.invalid", 104, connect_timeout=5), "ME")
    assert caught.value.failure is PeerFailure.UNREACHABLE


def test_an_abort_amid_a_long_data_set_is_told_as_one() -> None:
    def script(one: Accepting) -> None:
        one.accept()
        one.receive()
        one.send(pdu(7, bytes((0, 0, 2, 6))))
        one.reset()

    with accepting(script) as port, Connection.open(peer(port), "ME", propose([(VERIFICATION, (IMPLICIT,))])) as open_:
        with pytest.raises(PeerError) as caught:
            open_.call(open_.context_for(VERIFICATION), ECHO, Bytes(bytes(64 << 20)))
        assert caught.value.failure is PeerFailure.ABORTED


def test_a_peer_that_takes_nothing_is_silent() -> None:
    def script(one: Accepting) -> None:
        one.accept()
        done.wait(PATIENT)

    done = threading.Event()
    contexts = propose([(VERIFICATION, (IMPLICIT,))])
    with accepting(script) as port, Connection.open(peer(port, responding=IMPATIENT), "ME", contexts) as open_:
        with pytest.raises(PeerError) as caught:
            open_.call(open_.context_for(VERIFICATION), ECHO, Bytes(bytes(64 << 20)))
        assert caught.value.failure is PeerFailure.SILENT
        assert "while a C-ECHO was sent to it" in str(caught.value)
        done.set()


def test_a_peer_that_answers_a_byte_at_a_time_is_silent_all_the_same() -> None:
    def script(one: Accepting) -> None:
        one.accept()
        one.receive()
        while not done.wait(0.05):
            one.send(p_data(1, 1, b"\0"))

    done = threading.Event()
    with accepting(script) as port:
        with pytest.raises(PeerError) as caught:
            echo(peer(port, responding=0.5), "ME")
        assert caught.value.failure is PeerFailure.SILENT
        done.set()


def test_after_an_error_nothing_is_sent_any_more() -> None:
    with accepting(never_answer) as port:
        open_ = Connection.open(peer(port, responding=IMPATIENT), "ME", propose([(VERIFICATION, (IMPLICIT,))]))
        context = open_.context_for(VERIFICATION)
        with pytest.raises(PeerError):
            open_.call(context, ECHO)
        assert not open_.is_open
        with pytest.raises(PeerError, match="ended before"):
            open_.call(context, ECHO)


def test_an_answer_in_crumbs_is_understood() -> None:
    def script(one: Accepting) -> None:
        one.accept()
        one.receive()
        crumbs = [p_data(1, 3 if at + 1 == len(ANSWERED) else 1, ANSWERED[at : at + 1]) for at in range(len(ANSWERED))]
        for crumb in crumbs:
            one.send(crumb)
        assert one.receive()[0] == 5
        one.send(pdu(6, bytes(4)))
        one.until_closed()

    with accepting(script) as port:
        assert echo(peer(port), "ME").implementation == "1.2.3"


def test_both_may_release_at_once() -> None:
    released: list[int] = []

    def script(one: Accepting) -> None:
        one.accept()
        one.receive()
        one.send(p_data(1, 3, ANSWERED))
        kind, _ = one.receive()
        one.send(pdu(5, bytes(4)))
        released.extend((kind, one.receive()[0]))
        one.send(pdu(6, bytes(4)))
        one.until_closed()

    with accepting(script) as port:
        echo(peer(port), "ME")
    assert released == [5, 6]


def test_a_peer_that_does_not_answer_the_release_takes_nothing_back() -> None:
    def script(one: Accepting) -> None:
        one.accept()
        one.receive()
        one.send(p_data(1, 3, ANSWERED))
        one.until_closed()

    with accepting(script) as port:
        assert echo(peer(port, responding=IMPATIENT), "ME").seconds > 0


def test_no_descriptor_is_left_open() -> None:
    def opened() -> int:
        return len(list(Path(f"/proc/{os.getpid()}/fd").iterdir()))

    before = opened()
    for script in (reject(1, 1, 3), never_answer, accept_nothing, reset_instead_of_an_answer):
        with accepting(script) as port, pytest.raises(PeerError):
            echo(peer(port, responding=IMPATIENT), "ME")
    assert opened() == before


def test_pdus_are_no_larger_than_the_peer_takes() -> None:
    sizes: list[int] = []

    def script(one: Accepting) -> None:
        one.accept(max_length=4096)
        data = 0
        while data < 100_000:
            kind, body = one.receive()
            assert kind == 4
            sizes.append(len(body))
            data += len(body) - 6
        one.send(p_data(1, 3, ANSWERED))
        one.receive()
        one.send(pdu(6, bytes(4)))
        one.until_closed()

    with accepting(script) as port, Connection.open(peer(port), "ME", propose([(VERIFICATION, (IMPLICIT,))])) as open_:
        open_.call(open_.context_for(VERIFICATION), ECHO, Bytes(bytes(100_000)))
    assert max(sizes) == 4096
