"""Delivering to a destination that takes fewer associations than its setting says."""

import threading
from types import TracebackType
from typing import Self

import pytest

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.dimse.delivery import Delivery, Limits
from imagerepo.dimse.messages import Element
from imagerepo.dimse.selection import Selection
from imagerepo.dimse.suboperations import Source, Tally
from imagerepo.errors import PeerError, PeerFailure
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


@pytest.fixture
def repository():
    memory = Memory()
    made = assemble(Settings(), memory, MemoryCommits(memory))
    put(made, [one.part10 for one in FILES])
    yield made
    made.blocking_audit.close()


def test_what_was_left_to_an_association_that_had_just_ended_is_sent_all_the_same(repository: Repository) -> None:
    peer, tally = Busy(), Tally(len(FILES))
    selection = Selection((Scope(CALLER.institution, Uid(FILES[0].study)),), len(FILES))
    source = Source(repository, CALLER, selection, tally)
    delivery = Delivery(source, tally, peer.open, Limits(associations=2, retries=1))
    delivery.start()
    assert delivery.ended(30)
    delivery.settle()
    assert sorted(peer.received) == sorted(one.instance for one in FILES)
    assert tally.counts()[Element.COMPLETED_SUBOPERATIONS] == len(FILES)
