"""A request on its way through a commit."""

import itertools
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from imagerepo.errors import ImagerepoError, UnavailableError
from imagerepo.model.events import CommitKind, Committed, Request, StoreRequest
from imagerepo.model.instance import Range

PATIENCE: Final = 8.0
"""Seconds until an instance is given up whose study others have."""

_numbers = itertools.count()


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """An object that was written and that no row names yet."""

    store: str
    key: str
    size: int  # bytes
    instances: int


@dataclass(slots=True, eq=False)
class Item:
    """One request; without result it has to come again."""

    request: Request
    call: "Call"
    number: int  # in order of arrival
    until: float  # monotonic seconds; when it is given up
    result: Committed | None = None
    object_: Stored | None = None  # that has its bytes
    where: Range | None = None  # where in it
    waited: bool = False  # for its study, which somebody else has
    company: "list[Item]" = field(default_factory=list["Item"])
    """Those of its call and study: the order in which they came decides what describes the study."""
    lot: "list[Item] | None" = None  # those whose bytes came with its own, while they wait for their company
    is_handed_on: bool = False  # to a transaction

    @property
    def size(self) -> int:
        """Bytes that it brings."""
        return self.request.payload.size if isinstance(self.request, StoreRequest) else 0

    def lies(self, object_: Stored, where: Range) -> None:
        """Its bytes are stored. However long that took, it has not begun to wait for its study."""
        self.object_, self.where = object_, where
        self.until = time.monotonic() + PATIENCE

    def answer(self, result: Committed) -> None:
        """It is done."""
        self.result = result
        self.call.answered()

    def fail(self, error: ImagerepoError | None) -> None:
        """It is done, in vain."""
        self.answer(Committed(CommitKind.FAILED, error=error))


@dataclass(slots=True, eq=False)
class Call:
    """One call of `commit`, waiting for all of its items."""

    left: int
    done: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self) -> None:
        """One more is done."""
        with self.lock:
            self.left -= 1
            last = self.left == 0
        if last:
            self.done.set()


def made_of(requests: Sequence[Request], until: float) -> list[Item]:
    """The items of one call."""
    call = Call(len(requests))
    return [Item(request, call, next(_numbers), until) for request in requests]


GIVEN_UP = UnavailableError("others have this study in flight for too long; send it again")
