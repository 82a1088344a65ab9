import socket
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagerepo.dimse.pdu import (
    Abort,
    AbortReason,
    AbortSource,
    InvalidPduError,
    PduReader,
    Reject,
    RejectReason,
    RejectResult,
    StoppedError,
    data_pdus,
    only_pdv,
)
from imagerepo.dimse.transport import PlainTransport, SilenceError, TransportClosedError
from tests.wire.dimse_peer import p_data, pdv


@pytest.fixture(scope="module")
def listening() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def connect(listening: socket.socket) -> tuple[socket.socket, socket.socket]:
    sender = socket.create_connection(listening.getsockname())
    receiver, _ = listening.accept()
    return sender, receiver


def test_abort_and_reject_are_laid_out_as_the_standard_says() -> None:
    assert Abort(AbortSource.SERVICE_PROVIDER, AbortReason.UNEXPECTED_PDU).encode().hex() == "07000000000400000202"
    reject = Reject(RejectResult.TRANSIENT, RejectReason.LOCAL_LIMIT_EXCEEDED)
    assert reject.encode().hex() == "03000000000400020302"


@settings(max_examples=150, deadline=None)
@given(
    values=st.lists(st.binary(max_size=3000), min_size=1, max_size=6),
    cuts=st.lists(st.integers(1, 400), min_size=1, max_size=20),
    size=st.sampled_from([64, 1000, 1 << 18]),
)
def test_values_come_whole_however_they_are_cut(
    listening: socket.socket, values: list[bytes], cuts: list[int], size: int
) -> None:
    stream = p_data(*(pdv(1, 0, value) for value in values))
    sender, receiver = connect(listening)

    def send() -> None:
        at = number = 0
        while at < len(stream):
            step = cuts[number % len(cuts)]
            sender.sendall(stream[at : at + step])
            at, number = at + step, number + 1
        sender.close()

    thread = threading.Thread(target=send)
    with sender, receiver:
        sender.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        thread.start()
        reader = PduReader(PlainTransport(receiver), 10, size)
        assert reader.header() == (4, len(stream) - 6)
        for value in values:
            length, context_id, control = reader.pdv_header()
            assert (length, context_id, control) == (len(value) + 2, 1, 0)
            got = bytearray()
            while len(got) < len(value):
                got += reader.piece(len(value) - len(got))
            assert got == value
        with pytest.raises(TransportClosedError):
            reader.header()
        thread.join()


def test_a_body_longer_than_the_buffer_is_invalid(listening: socket.socket) -> None:
    sender, receiver = connect(listening)
    with sender, receiver, pytest.raises(InvalidPduError):
        PduReader(PlainTransport(receiver), 10, 64).body(65)


def test_a_short_body_at_the_end_of_the_buffer_is_moved_to_its_front(listening: socket.socket) -> None:
    sender, receiver = connect(listening)
    with sender, receiver:
        reader = PduReader(PlainTransport(receiver), 10, 64)
        sender.sendall(bytes(range(60)))
        assert bytes(reader.body(50)) == bytes(range(50))
        sender.sendall(bytes(range(60, 110)))
        assert bytes(reader.body(60)) == bytes(range(50, 110))


def test_silence_ends_waiting(listening: socket.socket) -> None:
    sender, receiver = connect(listening)
    with sender, receiver, pytest.raises(SilenceError):
        PduReader(PlainTransport(receiver), 0.05).header()


def test_a_deadline_holds_whatever_comes(listening: socket.socket) -> None:
    sender, receiver = connect(listening)
    ended = threading.Event()

    def drip() -> None:
        while not ended.wait(0.01):
            sender.send(b"\1")

    thread = threading.Thread(target=drip)
    with sender, receiver:
        thread.start()
        reader = PduReader(PlainTransport(receiver), 10)
        reader.set_deadline(0.1)
        with pytest.raises(SilenceError):
            reader.body(100_000)
        ended.set()
        thread.join()


def test_a_peer_that_does_not_read_is_not_waited_for(listening: socket.socket) -> None:
    sender, receiver = connect(listening)
    with sender, receiver, pytest.raises(SilenceError):
        PduReader(PlainTransport(receiver), 0.05).send(bytes(64 << 20))


def test_a_peer_that_does_not_read_is_not_waited_for_beyond_a_deadline(listening: socket.socket) -> None:
    sender, receiver = connect(listening)
    with sender, receiver:
        reader = PduReader(PlainTransport(receiver), 3600)
        reader.set_deadline(0.05)
        with pytest.raises(SilenceError):
            reader.send(bytes(64 << 20))


@pytest.mark.parametrize("sizes", [[1], [100_000, 1, 3_000_000, 7], [5] * 3000])
def test_buffers_are_sent_in_order_and_whole(listening: socket.socket, sizes: list[int]) -> None:
    sender, receiver = connect(listening)
    buffers = [bytes([number % 251]) * size for number, size in enumerate(sizes)]
    with sender, receiver:
        reader = PduReader(PlainTransport(receiver), 10)
        thread = threading.Thread(target=reader.send_all, args=(buffers,))
        thread.start()
        got = bytearray()
        while len(got) < sum(sizes):
            got += sender.recv(1 << 16)
        thread.join()
    assert got == b"".join(buffers)


def test_a_pdu_that_has_arrived_whole_is_seen_without_waiting(listening: socket.socket) -> None:
    sender, receiver = connect(listening)
    pdu = p_data(pdv(1, 3, b"abc"))
    with sender, receiver:
        reader = PduReader(PlainTransport(receiver), 10, 64)
        assert reader.arrived() is None
        sender.sendall(pdu[:-1])
        assert reader.arrived() is None
        sender.sendall(pdu[-1:] + pdu)
        while (got := reader.arrived()) is None:
            pass
        assert (bytes(got), only_pdv(got)) == (pdu, (3, b"abc"))
        assert reader.header() == (4, len(pdu) - 6)  # it was not taken


def test_a_pdu_larger_than_the_buffer_is_never_whole(listening: socket.socket) -> None:
    sender, receiver = connect(listening)
    with sender, receiver:
        reader = PduReader(PlainTransport(receiver), 10, 64)
        sender.sendall(p_data(pdv(1, 2, bytes(200))))
        for _ in range(3):
            assert reader.arrived() is None
        assert reader.header()[0] == 4


def test_another_thread_can_stop_a_reader_that_waits(listening: socket.socket) -> None:
    sender, receiver = connect(listening)
    with sender, receiver:
        reader = PduReader(PlainTransport(receiver), 10)
        timer = threading.Timer(0.05, reader.stop)
        timer.start()
        with pytest.raises(StoppedError):
            reader.header()
        timer.join()


@pytest.mark.parametrize(
    ("length", "max_length", "sizes"), [(10, 0, [10]), (10, 16, [10]), (11, 16, [10, 1]), (25, 16, [10, 10, 5])]
)
def test_values_are_cut_to_what_the_peer_receives(length: int, max_length: int, sizes: list[int]) -> None:
    value = bytes(range(length))
    expected = b""
    for number, size in enumerate(sizes):
        last = 2 if number == len(sizes) - 1 else 0
        expected += p_data(pdv(3, 1 | last, value[number * 10 : number * 10 + size]))
    assert data_pdus(3, value, 1, max_length) == expected


@given(st.binary(max_size=40), st.integers(7, 60) | st.just(0), st.sampled_from([0, 1]))
def test_a_value_is_cut_into_as_few_pdus_as_hold_it(value: bytes, max_length: int, control: int) -> None:
    stream = data_pdus(5, value, control, max_length)
    fragments: list[bytes] = []
    controls: list[int] = []
    while stream:
        length = int.from_bytes(stream[2:6], "big")
        pdu, stream = memoryview(stream[: 6 + length]), stream[6 + length :]
        assert pdu[:2] == b"\x04\0"
        assert not max_length or length <= max_length
        assert pdu[10] == 5
        one = only_pdv(pdu)
        assert one is not None
        controls.append(one[0])
        fragments.append(bytes(one[1]))
    assert b"".join(fragments) == value
    assert controls == [control] * (len(controls) - 1) + [control | 2]
    assert len(controls) == (max(1, -(-len(value) // (max_length - 6))) if max_length else 1)
