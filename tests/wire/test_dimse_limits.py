import os
import resource
import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.errors import OutOfSpaceError
from imagerepo.model.arrival import Spooled
from imagerepo.model.events import CommitKind, Committed, JournalRequest, Request
from imagerepo.settings import MIB, Dimse, Institution, Sender, Settings, Storage
from tests.wire.dimse_peer import (
    Peer,
    associate_rq,
    data_set,
    echo_command,
    message,
    p_data,
    pdv,
    rejected,
    store_command,
)
from tests.wire.dimse_serving import serving, within

DATA = data_set()


@pytest.mark.parametrize(
    ("request_pdu", "expected", "journaled"),
    [
        (associate_rq(called="NOBODY"), (1, 1, 7), 1),
        (associate_rq(calling="STRANGER"), (1, 1, 3), 1),
        (associate_rq(calling=""), (1, 1, 3), 0),
        (associate_rq(calling="A\x01B"), (1, 1, 3), 0),
        (associate_rq(calling="A\\B"), (1, 1, 3), 0),
        (associate_rq(application="1.2.3"), (1, 1, 2), 0),
        (associate_rq(version=2), (1, 2, 2), 0),
    ],
)
def test_a_request_that_is_not_welcome_is_rejected_with_its_reason(
    request_pdu: bytes, expected: tuple[int, int, int], journaled: int
) -> None:
    settings = Settings(institutions=(Institution(id="clinic", senders=(Sender(ae_title="PEER"),)),))
    with serving(settings) as served:
        with Peer(served.port) as peer:
            assert rejected(peer, request_pdu) == expected
            assert len(served.refusals) == journaled
        with Peer(served.port) as peer:
            peer.associate()
            peer.release()


def test_a_refused_association_is_in_the_journal_of_the_institution_that_was_called() -> None:
    settings = Settings(
        institutions=(
            Institution(id="north", called_ae_titles=("NORTH",), senders=(Sender(ae_title="CT1"),)),
            Institution(id="south", called_ae_titles=("SOUTH",), senders=(Sender(ae_title="CT1"),)),
        )
    )
    with serving(settings) as served:
        for called, source_and_reason in (("SOUTH", (1, 3)), ("WEST", (1, 7))):
            with Peer(served.port) as peer:
                assert rejected(peer, associate_rq(called=called))[1:] == source_and_reason
        assert [entry.caller.institution for entry in served.memory.journal] == ["south"]


def test_institutions_keep_what_is_sent_to_them() -> None:
    settings = Settings(
        institutions=(
            Institution(id="north", called_ae_titles=("NORTH",)),
            Institution(id="south", called_ae_titles=("SOUTH",)),
        )
    )
    with serving(settings) as served:
        with Peer(served.port) as peer:
            peer.associate(associate_rq(called="SOUTH"))
            assert peer.store(DATA).status == 0
        assert list(served.memory.instances) == [("south", "1.2.3.4.5")]


def test_more_associations_than_allowed_are_rejected_until_one_ends() -> None:
    with serving(Settings(dimse=Dimse(max_associations=2))) as served:
        with Peer(served.port) as first, Peer(served.port) as second, Peer(served.port) as third:
            first.associate()
            second.associate()
            assert served.server.associations == 2
            assert rejected(third, associate_rq()) == (2, 3, 2)
            first.release()
        within(5, lambda: served.server.associations == 0)
        with Peer(served.port) as peer:
            peer.associate()


def test_connections_that_ask_for_nothing_are_bounded() -> None:
    with serving(Settings(dimse=Dimse(max_associations=1, idle_timeout=30))) as served:
        idle = [Peer(served.port) for _ in range(70)]
        closed = [peer for peer in idle[-5:] if peer.receive() == (0, b"")]
        assert len(closed) == 5
        for peer in idle:
            peer.__exit__(None, None, None)
        with Peer(served.port) as peer:
            peer.associate()


def test_an_idle_association_is_aborted_by_the_provider() -> None:
    with serving(Settings(dimse=Dimse(idle_timeout=0.2))) as served, Peer(served.port) as peer:
        peer.associate()
        assert peer.aborted() == (2, 0)


def test_a_data_set_that_stalls_is_aborted_and_not_stored() -> None:
    with serving(Settings(dimse=Dimse(idle_timeout=0.2))) as served, Peer(served.port) as peer:
        peer.associate()
        peer.send(p_data(pdv(3, 3, store_command("1.2.3.4.5")), pdv(3, 0, DATA[:200])))
        assert peer.aborted() == (2, 0)
        assert served.count == 0


def test_a_connection_that_does_not_ask_in_time_is_closed_however_it_drips() -> None:
    with serving(Settings(dimse=Dimse(idle_timeout=0.3))) as served, Peer(served.port) as peer:

        def drip() -> None:
            with suppress(OSError):
                for one in associate_rq() * 10:
                    peer.send(bytes((one,)))
                    time.sleep(0.01)

        thread = threading.Thread(target=drip)
        thread.start()
        with suppress(ConnectionResetError):
            assert peer.receive() == (0, b"")
        thread.join()


def test_the_length_announced_is_the_length_accepted() -> None:
    settings = Settings(dimse=Dimse(max_pdu=4096))
    with serving(settings) as served, Peer(served.port) as peer:
        body = peer.associate()
        assert struct.pack(">BxHI", 0x51, 4, 4096) in body
        peer.send(message(3, store_command("1.2.3.4.5"), data_set(pixels=20_000), pdu=4096))
        assert peer.response().status == 0
        peer.send(struct.pack(">BxI", 4, 4097))
        assert peer.aborted() == (2, 6)


@pytest.mark.parametrize("pdu", [12, 300, 65_536, 2 * MIB])
def test_pdus_of_any_accepted_size_carry_the_same_bytes(pdu: int) -> None:
    data = data_set(pixels=3 * MIB if pdu > 1000 else 4000)
    with serving(Settings(dimse=Dimse(max_pdu=2 * MIB))) as served, Peer(served.port) as peer:
        peer.associate()
        peer.send(message(3, store_command("1.2.3.4.5"), data, pdu))
        assert peer.response().status == 0
        assert served.stored("1.2.3.4.5").endswith(data)


def test_responses_are_cut_to_what_the_peer_receives() -> None:
    with serving() as served, Peer(served.port) as peer:
        peer.associate(associate_rq(max_length=32))
        peer.send(message(1, echo_command()))
        command = b""
        while True:
            kind, body = peer.receive()
            assert kind == 4
            assert len(body) <= 32
            command += body[6:]
            if body[5] & 2:
                break
        assert command.endswith(struct.pack("<HHIH", 0, 0x900, 2, 0))


class FullCommits(MemoryCommits):
    """A disk without room."""

    def accepts(self) -> bool:
        return False


class SpoollessCommits(MemoryCommits):
    """A disk that fills while a large instance comes."""

    def spool(self) -> Spooled:
        raise OutOfSpaceError("the disk is full")


class FailingCommits(MemoryCommits):
    """A disk that fills at the commit."""

    def commit(self, requests: Sequence[Request]) -> Sequence[Committed]:
        if all(isinstance(one, JournalRequest) for one in requests):
            return super().commit(requests)
        return [Committed(CommitKind.FAILED, error=OutOfSpaceError("the disk is full")) for _ in requests]


@pytest.mark.parametrize("commits", [FullCommits, SpoollessCommits, FailingCommits])
def test_without_room_a_store_is_answered_with_a700_and_the_association_goes_on(commits: type[MemoryCommits]) -> None:
    settings = Settings(storage=Storage(file_threshold=64 * 1024))
    with serving(settings, commits(Memory())) as served, Peer(served.port) as peer:
        peer.associate()
        got = peer.store(data_set(pixels=200_000))
        assert got.status == 0xA700
        assert got.comment
        assert peer.echo().status == 0
        peer.release()


def test_an_instance_above_the_limit_is_refused_for_good() -> None:
    settings = Settings(storage=Storage(instance_size_limit=MIB))
    with serving(settings) as served, Peer(served.port) as peer:
        peer.associate()
        assert peer.store(data_set(pixels=MIB)).status == 0xC010
        assert served.count == 0
        assert "storage.instance_size_limit" in served.refusals[0]
        assert peer.store(DATA).status == 0


def test_duplicates_succeed_and_differences_are_versions_or_conflicts() -> None:
    changed = data_set(PatientName="Changed^Name")
    with serving() as served, Peer(served.port) as peer:
        peer.associate()
        assert [peer.store(data).status for data in (DATA, DATA, changed)] == [0, 0, 0]
        assert len(served.memory.instances["default", "1.2.3.4.5"].versions) == 2
    settings = Settings(institutions=(Institution(id="strict", on_difference="refuse"),))
    with serving(settings) as served, Peer(served.port) as peer:
        peer.associate()
        assert [peer.store(data).status for data in (DATA, DATA, changed)] == [0, 0, 0xC011]


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0


def test_associations_and_requests_are_counted() -> None:
    durations = "imagerepo_dimse_request_duration_seconds_count"
    before = {service: sample(durations, service=service) for service in ("C-ECHO", "C-STORE", "unsupported")}
    with serving() as served:
        with Peer(served.port) as peer:
            peer.associate()
            assert sample("imagerepo_dimse_associations") == 1
            peer.echo()
            peer.store(DATA)
            peer.send(message(1, store_command("1.2"), DATA))
            peer.response()
            peer.release()
        within(5, lambda: sample("imagerepo_dimse_associations") == 0)
    assert {service: sample(durations, service=service) - count for service, count in before.items()} == {
        "C-ECHO": 1,
        "C-STORE": 1,
        "unsupported": 1,
    }


def test_without_descriptors_the_server_waits_and_then_serves(caplog: pytest.LogCaptureFixture) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with serving() as served, socket.socket() as waiting, ExitStack() as held:
        highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 2, hard))
        try:
            with suppress(OSError):
                while True:
                    held.callback(os.close, os.dup(0))
            waiting.connect(("127.0.0.1", served.port))
            within(5, lambda: "dimse.accept.exhausted" in caplog.text)
        finally:
            held.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        waiting.settimeout(10)
        waiting.sendall(associate_rq())
        assert waiting.recv(1) == b"\2"


class BrokenCommits(MemoryCommits):
    """A defect of ours."""

    def commit(self, requests: Sequence[Request]) -> Sequence[Committed]:
        raise ZeroDivisionError(f"{len(requests)} requests")


def test_a_defect_aborts_its_association_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    with serving(commits=BrokenCommits(Memory())) as served, Peer(served.port) as peer, Peer(served.port) as other:
        peer.associate()
        other.associate()
        peer.send(message(3, store_command("1.2.3.4.5"), DATA))
        assert peer.aborted() == (2, 0)
        assert other.echo().status == 0
        assert "dimse.association.failed" in caplog.text


@pytest.mark.parametrize("ending", ["whole", "aborted"])
def test_an_instance_too_large_for_memory_goes_through_a_file(ending: str) -> None:
    settings = Settings(storage=Storage(file_threshold=64 * 1024))
    data = data_set(pixels=3 * MIB)
    with serving(settings) as served, Peer(served.port) as peer:
        peer.associate()
        if ending == "whole":
            assert peer.store(data).status == 0
            assert served.stored("1.2.3.4.5").endswith(data)
        else:
            peer.send(message(3, store_command("1.2.3.4.5"), data)[: 2 * MIB])
            peer.__exit__(None, None, None)
            within(5, lambda: served.server.associations == 0)
            assert served.count == 0
