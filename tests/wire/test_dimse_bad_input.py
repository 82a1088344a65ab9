import random
import struct
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagerepo.settings import Dimse, Settings
from tests.wire.dimse_peer import (
    ABORT,
    CT,
    EXPLICIT,
    RELEASE_RP,
    RELEASE_RQ,
    Peer,
    associate_rq,
    command,
    data_set,
    echo_command,
    item,
    message,
    p_data,
    pdv,
    store_command,
    ui,
    us,
)
from tests.wire.dimse_serving import Served, serving

USER = (0, 0)
INVALID = (2, 6)
DATA = data_set()


def shown(value: object) -> str:
    """A test's parameter in its name."""
    return value.hex()[:40] if isinstance(value, bytes) else str(value)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Settings(dimse=Dimse(max_pdu=64 * 1024))) as one:
        yield one


@pytest.fixture(autouse=True)
def next_client_notices_nothing(served: Served, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    before = served.count
    yield
    assert served.count == before
    assert "dimse.association.failed" not in caplog.text
    with Peer(served.port) as peer:
        peer.associate()
        assert peer.echo().status == 0
        peer.release()


@pytest.mark.parametrize(
    "pdu",
    [
        message(1, echo_command()),
        RELEASE_RQ,
        RELEASE_RP,
        struct.pack(">BxI", 2, 4) + bytes(4),
        struct.pack(">BxI", 3, 4) + bytes(4),
        struct.pack(">BxI", 0x99, 4) + bytes(4),
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack(">BxI", 1, 2**32 - 1),
        associate_rq(contexts=()),
        associate_rq(extra=item(0x54, b"\xff\xffx")),
    ],
    ids=shown,
)
def test_anything_but_a_request_at_first_is_aborted_as_user(served: Served, pdu: bytes) -> None:
    with Peer(served.port) as peer:
        peer.send(pdu)
        assert peer.aborted() == USER


@pytest.mark.parametrize(
    ("pdu", "abort"),
    [
        (associate_rq(), (2, 2)),
        (struct.pack(">BxI", 2, 4) + bytes(4), (2, 2)),
        (RELEASE_RP, (2, 2)),
        (struct.pack(">BxI", 0x99, 4) + bytes(4), (2, 1)),
        (struct.pack(">BxI", 0, 0), (2, 1)),
        (struct.pack(">BxI", 5, 5) + bytes(5), INVALID),
        (struct.pack(">BxI", 4, 64 * 1024 + 1), INVALID),
        (struct.pack(">BxI", 4, 2**32 - 1), INVALID),
        (struct.pack(">BxI", 4, 0), INVALID),
        (p_data(b"\0"), INVALID),
        (p_data(pdv(1, 1, echo_command()) + b"\0\0\0\0\0"), INVALID),
        (p_data(struct.pack(">IBB", 0, 1, 3)), INVALID),
        (p_data(struct.pack(">IBB", 1, 1, 3)), INVALID),
        (p_data(struct.pack(">IBB", 2**32 - 1, 1, 3)), INVALID),
        (p_data(struct.pack(">IBB", 3, 1, 3)), INVALID),
        (message(7, echo_command()), INVALID),
        (p_data(pdv(3, 2, DATA)), INVALID),
        (p_data(pdv(3, 3, store_command("1.2")), pdv(1, 2, DATA)), INVALID),
        (p_data(pdv(3, 3, store_command("1.2")), pdv(3, 3, store_command("1.2"))), INVALID),
        (p_data(pdv(3, 1, store_command("1.2")), pdv(1, 3, echo_command())), INVALID),
        (p_data(pdv(1, 3, b"")), USER),
        (p_data(pdv(1, 3, b"\0")), USER),
        (p_data(pdv(1, 3, echo_command()[:-1])), USER),
        (p_data(pdv(1, 3, command(us(0x100, 0x30), us(0x800, 0x101)))), USER),
        (p_data(pdv(1, 3, command(us(0x100, 0x8030), us(0x120, 1), us(0x800, 0x101)))), USER),
        (p_data(pdv(1, 1, bytes(60_000))) * 2, USER),
    ],
    ids=shown,
)
def test_what_does_not_belong_in_an_association_aborts_it(served: Served, pdu: bytes, abort: tuple[int, int]) -> None:
    with Peer(served.port) as peer:
        peer.associate()
        peer.send(pdu)
        assert peer.aborted() == abort


@pytest.mark.parametrize(
    ("command_set", "status", "comment"),
    [
        (store_command(""), 0x0117, "Affected SOP Instance UID (0000,1000) is missing"),
        (store_command("1.2.x"), 0x0117, "Affected SOP Instance UID (0000,1000) is malformed"),
        (store_command("1" * 65), 0x0117, "Affected SOP Instance UID (0000,1000) is malformed"),
        (store_command("1.2", sop_class=CT + ".1"), 0x0122, "SOP Class UID is not the presentation context's"),
        (command(us(0x100, 1), us(0x110, 1), us(0x800, 0)), 0x0122, "SOP Class UID is missing"),
        (
            command(ui(2, CT), us(0x100, 0x20), us(0x110, 1), us(0x800, 0)),
            0x0211,
            "operation 0020H is not served for this SOP class",
        ),
        (store_command("1.9.9"), 0xA900, "SOP Instance UID (0008,0018) is '1.2.3.4.5' in the data set but"),
    ],
    ids=shown,
)
def test_a_request_that_cannot_be_done_is_answered_after_its_data_set(
    served: Served, command_set: bytes, status: int, comment: str
) -> None:
    with Peer(served.port) as peer:
        peer.associate()
        peer.send(message(3, command_set, DATA, pdu=200))
        got = peer.response()
        assert (got.status, got.responds_to) == (status, 1)
        assert got.comment == comment[:64].rstrip() or got.comment.startswith(comment[:60])
        assert peer.echo().status == 0
        peer.release()


def test_a_store_without_data_set_is_answered(served: Served) -> None:
    with Peer(served.port) as peer:
        peer.associate()
        peer.send(message(3, command(ui(2, CT), us(0x100, 1), us(0x110, 9), us(0x800, 0x101), ui(0x1000, "1.2"))))
        got = peer.response()
        assert (got.status, got.responds_to) == (0xC000, 9)


def test_a_store_on_the_verification_context_is_not_an_operation_of_it(served: Served) -> None:
    with Peer(served.port) as peer:
        peer.associate()
        peer.send(message(1, store_command("1.2"), DATA))
        assert peer.response().status == 0x0211


@pytest.mark.parametrize("data", [b"", DATA[:-1], DATA[:100], b"\xff" * 500, b"not DICOM"])
def test_a_data_set_that_is_none_cannot_be_understood_and_is_journaled(served: Served, data: bytes) -> None:
    before = len(served.refusals)
    with Peer(served.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(3, 3, store_command("1.2.3.4.5"))) + p_data(pdv(3, 2, data)))
        got = peer.response()
        assert got.status == 0xC000
        assert got.comment
        assert len(served.refusals) == before + 1
        peer.release()


def test_a_cancel_of_nothing_is_passed_over(served: Served) -> None:
    with Peer(served.port) as peer:
        peer.associate()
        peer.send(message(3, command(us(0x100, 0xFFF), us(0x120, 1), us(0x800, 0x101))))
        assert peer.echo().status == 0


@pytest.mark.parametrize("ending", [ABORT, b"", RELEASE_RQ])
def test_an_association_that_ends_amid_a_data_set_stores_nothing(served: Served, ending: bytes) -> None:
    with Peer(served.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(3, 3, store_command("1.2.3.4.5")), pdv(3, 0, DATA[:300])))
        peer.send(ending)


def test_a_reset_amid_a_data_set_stores_nothing(served: Served) -> None:
    with Peer(served.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(3, 3, store_command("1.2.3.4.5")), pdv(3, 0, DATA[:300])))
        peer.socket.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SO_LINGER: close with RST


def test_after_its_end_an_association_ignores_what_comes_and_waits_for_the_close(served: Served) -> None:
    with Peer(served.port) as peer:
        peer.associate()
        peer.release()
        peer.send(message(1, echo_command()) + RELEASE_RQ + RELEASE_RP)
        peer.send(associate_rq())
        assert peer.aborted() == (2, 2)
        peer.send(ABORT)
        assert peer.receive() == (0, b"")


def test_after_an_abort_garbage_is_not_answered(served: Served) -> None:
    with Peer(served.port) as peer:
        peer.associate()
        peer.send(struct.pack(">BxI", 0x99, 4) + b"\x99" * 100_000)
        assert peer.aborted() == (2, 1)
        peer.socket.shutdown(1)
        assert peer.receive() == (0, b"")


def conversation() -> list[bytes]:
    store = message(3, store_command("1.2.3.4.5"), DATA, pdu=128)
    return [associate_rq(extra=item(0x53, b"\0\1\0\1")), message(1, echo_command()), store, RELEASE_RQ]


@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(seed=st.integers(0, 2**32))
def test_mutated_conversations_are_answered_or_aborted(served: Served, seed: int) -> None:
    chance = random.Random(seed)
    stream = bytearray(b"".join(conversation()))
    before = served.count
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(stream))
        match chance.randrange(3):
            case 0:
                stream[at] = chance.randrange(256)
            case 1:
                del stream[at : at + chance.randint(1, 8)]
            case _:
                stream[at:at] = chance.randbytes(chance.randint(1, 8))
    until_closed(served, bytes(stream), chance)
    # A mutation of a byte that means nothing is stored, and rightly.
    for key in list(served.memory.instances)[before:]:
        del served.memory.instances[key]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=300), associated=st.booleans(), seed=st.integers(0, 99))
def test_any_bytes_are_answered_or_aborted(served: Served, data: bytes, associated: bool, seed: int) -> None:  # noqa: FBT001 - drawn
    until_closed(served, associate_rq() + data if associated else data, random.Random(seed))


def until_closed(served: Served, stream: bytes, chance: random.Random) -> None:
    """Send in random cuts, end sending, and see the server close."""
    with Peer(served.port) as peer:
        try:
            at = 0
            while at < len(stream):
                step = chance.choice((1, 5, 100, 10_000))
                peer.send(stream[at : at + step])
                at += step
            peer.socket.shutdown(1)
            while peer.receive()[0]:
                pass
        except OSError:
            pass  # closed while we sent
    limit = time.monotonic() + 10
    while served.server.associations:
        assert time.monotonic() < limit
        time.sleep(0.001)


def test_one_byte_at_a_time_is_a_sender_too(served: Served) -> None:
    with Peer(served.port) as peer:
        peer.socket.setsockopt(6, 1, 1)
        for one in associate_rq():
            peer.send(bytes((one,)))
        assert peer.receive()[0] == 2
        for one in message(1, echo_command()) + message(3, store_command("1.2.9"), DATA[:200]):
            peer.send(bytes((one,)))
        assert peer.response().status == 0
        assert peer.response().status == 0xC000
        peer.release()


def test_pieces_of_all_sizes_are_put_together(served: Served) -> None:
    empty = p_data(pdv(1, 1, b"")) * 3
    echo = echo_command()
    with Peer(served.port) as peer:
        peer.associate(associate_rq(contexts=((1, "1.2.840.10008.1.1", (EXPLICIT,)),)))
        peer.send(empty + p_data(*(pdv(1, 1, echo[at : at + 1]) for at in range(len(echo)))) + p_data(pdv(1, 3, b"")))
        assert peer.response().status == 0
        peer.release()
