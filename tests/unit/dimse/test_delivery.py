"""Delivering to a destination that takes fewer associations than its setting says, or that never answers."""

import threading
from types import TracebackType
from typing import Self

import pytest

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.dimse.delivery import Delivery, Limits
from imagerepo.dimse.messages import Element
from imagerepo.dimse.selection import Selection
from imagerepo.dimse.suboperations import Source, Tally
from imagerepo.errors import PeerError, PeerFailure, UnavailableError
from imagerepo.flows.repository import Repository
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.model.uids import Uid
from imagerepo.ports.peers import Sent
from imagerepo.settings import Settings
from tests.harness.in_memory import assemble
from tests.wire.retrieving import CALLER, put, series

FILES = series(2)


class Busy:
    """A destination that has room for one association, and is slow to release it."""

    def __init__(self) -> None:
        self.received: list[str] = []
        self.opened = 0
        self.releasing = threading.Event()
        self.asked_again = threading.Event()
        self._lock = threading.Lock()

    def open(self) -> "Way":
        with self._lock:
            self.opened += 1
            number = self.opened
        if number == 2:
            # Whoever has the first association counts on nothing more to come.
            self.releasing.wait(10)
            raise PeerError("it has room for one association", PeerFailure.BUSY)
        if number > 2:
            self.asked_again.set()
        return Way(self)


class Way:
    """An association with it."""

    def __init__(self, peer: Busy) -> None:
        self._peer = peer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._peer.releasing.is_set():
            self._peer.releasing.set()
            self._peer.asked_again.wait(3)

    def send(self, version: Version, then: Version | None = None) -> Sent:
        del then
        self._peer.received.append(version.instance_uid)
        return Sent(0, "")

    def stop(self) -> None:
        """Nothing is waited for."""


class Mute:
    """A destination that never answers, over one association for each way."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)  # once for each instance that was sent
        self.opening = threading.Event()  # set: who opens a way goes on
        self.opening.set()
        self.dialed = threading.Event()

    def open(self) -> "MuteWay":
        self.dialed.set()
        assert self.opening.wait(10)
        return MuteWay(self)


class MuteWay:
    """An association with it."""

    def __init__(self, peer: Mute) -> None:
        self._peer = peer
        self._stopped = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        del kind, error, traceback

    def send(self, version: Version, then: Version | None = None) -> Sent:
        del version, then
        self._peer.asked.release()
        assert self._stopped.wait(30), "nobody has stopped it"
        raise PeerError("it was stopped", PeerFailure.ABORTED)

    def stop(self) -> None:
        self._stopped.set()


@pytest.fixture
def repository():
    memory = Memory()
    made = assemble(Settings(), memory, MemoryCommits(memory))
    put(made, [one.part10 for one in FILES])
    yield made
    made.blocking_audit.close()


def source_of(repository: Repository, tally: Tally) -> Source:
    selection = Selection((Scope(CALLER.institution, Uid(FILES[0].study)),), len(FILES))
    return Source(repository, CALLER, selection, tally)


def places(number: int) -> threading.Semaphore:
    return threading.BoundedSemaphore(number)


def to_mute(repository: Repository, peer: Mute, room: threading.Semaphore, associations: int = 1) -> Delivery:
    tally = Tally(len(FILES))
    return Delivery(source_of(repository, tally), tally, peer.open, Limits(associations, retries=3), room)


def test_what_was_left_to_an_association_that_had_just_ended_is_sent_all_the_same(repository: Repository) -> None:
    peer, tally = Busy(), Tally(len(FILES))
    delivery = Delivery(source_of(repository, tally), tally, peer.open, Limits(associations=2, retries=1), places(2))
    delivery.start()
    assert delivery.ended(30)
    delivery.settle()
    assert sorted(peer.received) == sorted(one.instance for one in FILES)
    assert tally.counts()[Element.COMPLETED_SUBOPERATIONS] == len(FILES)


def test_a_delivery_that_is_stopped_ends_although_its_destination_never_answers(repository: Repository) -> None:
    peer = Mute()
    delivery = to_mute(repository, peer, places(2), associations=2)
    delivery.start()
    assert peer.asked.acquire(timeout=10)
    assert peer.asked.acquire(timeout=10)
    delivery.stop()
    assert delivery.ended(10)


def test_a_way_that_is_opened_after_the_delivery_was_stopped_is_ended_too(repository: Repository) -> None:
    peer = Mute()
    peer.opening.clear()
    delivery = to_mute(repository, peer, places(1))
    delivery.start()
    assert peer.dialed.wait(10)
    delivery.stop()
    peer.opening.set()
    assert delivery.ended(10)


def test_a_delivery_beyond_the_places_of_the_process_is_refused_until_one_is_free(repository: Repository) -> None:
    peer, room = Mute(), places(1)
    first, second, third = (to_mute(repository, peer, room) for _ in range(3))
    first.start()
    with pytest.raises(UnavailableError, match="too many"):
        second.start()
    first.stop()
    assert first.ended(10)
    third.start()
    third.stop()
    assert third.ended(10)


def test_a_delivery_goes_on_over_the_associations_that_it_has_places_for(repository: Repository) -> None:
    peer = Mute()
    delivery = to_mute(repository, peer, places(1), associations=2)
    delivery.start()
    assert peer.asked.acquire(timeout=10)
    delivery.stop()
    assert delivery.ended(10)
    assert not peer.asked.acquire(blocking=False), "one association sent one instance"
