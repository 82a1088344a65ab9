"""Whatever bytes a peer sends, reading them ends in a message or in one of the errors that end an association."""

import struct
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.dimse.associate import UserInformation
from imagerepo.dimse.client.channel import DATA_LIMIT, AbortedError, Channel, ReleasedError
from imagerepo.dimse.client.negotiation import Accepted
from imagerepo.dimse.client.statuses import explain, is_failure
from imagerepo.dimse.messages import Command, MalformedCommandError
from imagerepo.dimse.negotiate import PresentationContext
from imagerepo.dimse.pdu import RELEASE_RP, RELEASE_RQ, InvalidPduError, PduReader
from imagerepo.dimse.transport import EndedError
from imagerepo.model.arrival import Buffer
from tests.harness.raw_acceptor import p_data, pdu, response

CONTEXT = PresentationContext(1, "1.2.840.10008.1.1", "1.2.840.10008.1.2")
ACCEPTED = Accepted({1: CONTEXT}, {}, UserInformation(16384, "1.2.3", "", None, (), ()))


class Recorded:
    """A connection on which all has come already, a few bytes at a time; what is sent is kept."""

    def __init__(self, came: bytes, at_once: int = 7) -> None:
        self._came = came
        self._at_once = at_once
        self.sent = b""

    def limit_sending(self, seconds: float) -> None:
        """Nobody waits."""

    def limit_receiving(self, seconds: float) -> None:
        """Nobody waits."""

    def receive(self, into: memoryview) -> int:
        count = min(self._at_once, len(self._came), len(into))
        into[:count], self._came = self._came[:count], self._came[count:]
        return count

    def receive_arrived(self, into: memoryview) -> int | None:
        return self.receive(into)

    def send(self, buffers: Sequence[Buffer]) -> None:
        self.sent += b"".join(buffers)

    def stop(self) -> None:
        """Nobody waits."""


def channel(came: bytes, at_once: int = 7) -> tuple[Channel, Recorded]:
    transport = Recorded(came, at_once)
    return Channel(PduReader(transport, 1.0), ACCEPTED, 16384, 60.0), transport


def read_all(came: bytes, at_once: int = 7) -> list[tuple[Command, bytes]]:
    one, _ = channel(came, at_once)
    found: list[tuple[Command, bytes]] = []
    try:
        while True:
            context, command = one.receive_command()
            found.append((command, one.gather_data(context) if command.has_data_set else b""))
    except (EndedError, InvalidPduError, MalformedCommandError):
        return found


@given(st.binary(max_size=400), st.integers(1, 50))
def test_noise_ends_in_an_error(noise: bytes, at_once: int) -> None:
    read_all(noise, at_once)
    read_all(p_data(1, 3, response(0x8030, 1, 0)) + noise, at_once)
    read_all(p_data(1, 3, noise), at_once)


@given(st.integers(0, 200), st.integers(0, 255))
def test_a_changed_byte_ends_in_a_message_or_an_error(at: int, value: int) -> None:
    stream = bytearray(p_data(1, 3, response(0x8030, 1, 0)) * 2)
    stream[at % len(stream)] = value
    read_all(bytes(stream))


@given(st.integers(1, 60), st.integers(1, 40))
def test_a_message_in_fragments_is_the_same_message(size: int, at_once: int) -> None:
    command = response(0x8030, 5, 0xB000)
    parts = [command[at : at + size] for at in range(0, len(command), size)]
    stream = b"".join(p_data(1, 3 if at + 1 == len(parts) else 1, part) for at, part in enumerate(parts))
    ((found, _),) = read_all(stream, at_once)
    assert (found.message_id, found.field) == (5, 0x8030)


def test_two_values_may_stand_in_one_pdu() -> None:
    command = response(0x8030, 5, 0)
    values = b"".join(
        struct.pack(">IBB", len(part) + 2, 1, control) + part
        for control, part in ((1, command[:20]), (3, command[20:]))
    )
    assert len(read_all(pdu(4, values))) == 1


def test_an_abort_and_a_release_are_told_apart() -> None:
    aborted, _ = channel(pdu(7, bytes((0, 0, 2, 1))))
    with pytest.raises(AbortedError) as caught:
        aborted.receive_command()
    assert caught.value.body == bytes((0, 0, 2, 1))
    released, transport = channel(RELEASE_RQ)
    with pytest.raises(ReleasedError):
        released.receive_command()
    assert transport.sent == RELEASE_RP


def test_data_that_nobody_could_hold_are_refused() -> None:
    piece = p_data(1, 0, bytes(16_000))
    one, _ = channel(piece * (DATA_LIMIT // 16_000 + 1), 1 << 20)
    with pytest.raises(InvalidPduError, match="above"):
        one.gather_data(CONTEXT)


@pytest.mark.parametrize(
    ("status", "failure", "shown"),
    [
        (0x0000, False, "success (0000H)"),
        (0xFE00, False, "cancelled (FE00H)"),
        (0xB000, False, "B000H"),
        (0xA7FF, True, "out of resources (A7FFH)"),
        (0xA9AB, True, "does not match the SOP class (A9ABH)"),
        (0xC123, True, "cannot process or understand this (C123H)"),
        (0x0124, True, "not authorized (0124H)"),
        (0x7777, True, "failure (7777H)"),
    ],
)
def test_a_status_is_told_in_words(status: int, failure: bool, shown: str) -> None:  # noqa: FBT001 - a table
    assert is_failure(status) is failure
    assert shown in explain(status)
    assert explain(status, "because").endswith(": because")
