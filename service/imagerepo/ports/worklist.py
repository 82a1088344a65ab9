"""Scheduled and performed procedure steps, kept."""

from collections.abc import Callable, Sequence
from typing import Protocol

from imagerepo.model.worklist import Bounds, Cursor, PerformedStep, ScheduledStep


class Worklist(Protocol):
    """Safe to call from any number of threads and processes. What a call changed is durable when it returns.

    All methods raise UnavailableError where it cannot be read or written; then nothing has changed.
    """

    def put(self, step: ScheduledStep) -> bool:
        """Add an item, or put it in place of that with the same id; whether it is new.

        If it is of the same study and step, it keeps the state that the other has.
        """
        ...

    def scheduled(self, institution: str, id: str) -> ScheduledStep | None:  # noqa: A002 - as the model has it
        """An item."""
        ...

    def remove(self, institution: str, id: str) -> bool:  # noqa: A002 - as the model has it
        """Remove an item; whether there was one."""
        ...

    def page(self, institution: str, bounds: Bounds, after: Cursor, limit: int) -> Sequence[ScheduledStep]:
        """Items that are scheduled or started, within `bounds`, by day, time and id."""
        ...

    def begin(self, step: PerformedStep) -> bool:
        """Add a performed step, and tell so of the items that it is about; False: there is one with that UID."""
        ...

    def change(
        self, institution: str, uid: str, change: Callable[[PerformedStep], PerformedStep]
    ) -> PerformedStep | None:
        """Put in place of a performed step what `change` makes of it, as one step; None: there is none.

        What `change` raises is passed on; then nothing has changed.
        """
        ...

    def performed(self, institution: str, uid: str) -> PerformedStep | None:
        """A performed step."""
        ...

    def performed_of(self, institution: str, study_uid: str, limit: int) -> Sequence[PerformedStep]:
        """Performed steps of a study, the oldest first."""
        ...
