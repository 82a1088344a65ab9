"""What is said on an association that we opened: requests with their responses, and what the peer asks meanwhile.

Source: PS3.7 section 9.3 (DIMSE-C protocol) and Annex C (status).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from imagerepo.dimse.messages import PENDING, Command, Element
from imagerepo.dimse.negotiate import PresentationContext


@dataclass(frozen=True, slots=True)
class Answer:
    """One response."""

    command: Command
    status: int
    data: bytes  # its data set; b'' if it has none

    @property
    def pending(self) -> bool:
        """Whether further responses follow (PS3.7 Annex C.3)."""
        return self.status in PENDING

    @property
    def comment(self) -> str:
        """What it says about its status; '' if nothing."""
        return self.command.text(Element.ERROR_COMMENT)


class Served(Protocol):
    """One request of the peer's, up to our response."""

    def write(self, piece: memoryview) -> None:
        """Take the next piece of its data set; it is valid during the call only."""
        ...

    def complete(self) -> int:
        """Everything has come: do it; the status to respond with."""
        ...

    def close(self) -> None:
        """Give back what is held; called once, whatever happened before."""
        ...


Service: TypeAlias = Callable[[PresentationContext, Command], Served]
"""What is done with requests of the peer: C-STORE sub-operations of a C-GET, N-EVENT-REPORT."""


class Line(Protocol):
    """What a conversation needs of its connection."""

    def receive_answer(self, message_id: int, doing: str, service: Service | None) -> Answer:
        """The next response to a request. Raises PeerError."""
        ...

    def cancel(self, context: PresentationContext, message_id: int) -> None:
        """Send a C-CANCEL. Raises PeerError."""
        ...


class Conversation:
    """A request under way: iterate over its responses, the final one last."""

    def __init__(
        self,
        connection: Line,
        context: PresentationContext,
        message_id: int,
        name: str,
        service: Service | None,
    ) -> None:
        """Begin; the request was sent."""
        self._connection = connection
        self._context = context
        self._message_id = message_id
        self._doing = f"while its response to a {name} was waited for"
        self._service = service
        self._over = False

    @property
    def over(self) -> bool:
        """Whether the final response has come."""
        return self._over

    def __iter__(self) -> Iterator[Answer]:
        while not self._over:
            answer = self._connection.receive_answer(self._message_id, self._doing, self._service)
            self._over = not answer.pending
            yield answer

    def cancel(self) -> None:
        """Ask the peer to end it; responses go on until the final one, which may say that it was too late."""
        if not self._over:
            self._connection.cancel(self._context, self._message_id)
