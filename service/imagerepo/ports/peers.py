"""Other application entities: sending stored instances to them."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum
from types import TracebackType
from typing import Protocol, Self, TypeAlias

from imagerepo.model.instance import Version
from imagerepo.model.peer import Peer

Kind: TypeAlias = tuple[str, str]
"""What an instance is to a receiver: SOP Class UID and Transfer Syntax UID."""


class Priority(IntEnum):
    """How urgent a request is (PS3.7 Table E.1-1)."""

    MEDIUM = 0
    HIGH = 1
    LOW = 2


@dataclass(frozen=True, slots=True)
class Originator:
    """The C-MOVE that instances are sent for (PS3.7 section 9.1.1.1)."""

    ae_title: str
    message_id: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What a receiver answered to one instance."""

    status: int  # PS3.4 Table B.2-1
    comment: str  # what it says about it; '' if nothing

    @property
    def stored(self) -> bool:
        """Whether it has the instance now, warnings (Bxxx) included."""
        return self.status == 0 or self.warned

    @property
    def warned(self) -> bool:
        """Whether it has the instance, and something to say about it."""
        return self.status >> 12 == 0xB


class Sending(Protocol):
    """A way to one peer, held open over many instances. Belongs to one thread at a time."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End it: in order, or after an error at once."""
        ...

    def send(self, version: Version, then: Version | None = None) -> Sent:
        """Send one version; blocks until the peer has answered.

        Args:
            version: what is sent.
            then: what will probably be sent next: it may be read while the answer is on its way.

        Raises:
            PeerError: with `failure` REFUSED, the peer does not take this kind of instance. With any other, it or the
                network is gone; sending again opens the way anew.
            DamagedError: the version's bytes cannot be read.
            NotFoundError: it was deleted meanwhile.
        """
        ...


class Stoppable(Sending, Protocol):
    """A way that another thread may end, whatever its own waits for."""

    def stop(self) -> None:
        """End it at once: `send`, under way or later, raises PeerError. Any thread may call it, also again."""
        ...


class Peers(Protocol):
    """Opens ways to peers. Safe to call from any number of threads."""

    def sending(
        self,
        peer: Peer,
        calling_ae_title: str,
        kinds: Collection[Kind],
        *,
        originator: Originator | None = None,
        priority: Priority = Priority.MEDIUM,
    ) -> Sending:
        """Open a way to `peer` for instances of `kinds`; others can be sent as well, at the cost of asking again.

        Raises:
            PeerError: it is unreachable, rejects, is silent. That it takes none of `kinds` is told by `send`.
        """
        ...
