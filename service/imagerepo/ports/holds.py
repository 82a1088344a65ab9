"""Legal holds, looked up. They are set and lifted by commits (ports.commits)."""

from collections.abc import Sequence
from typing import Protocol

from imagerepo.model.hold import Hold


class Holds(Protocol):
    """Reads holds. Safe to call from any number of threads; blocks for well below a millisecond."""

    def of(self, institution: str, study_uid: str) -> Hold | None:
        """A study's hold, if there is one. Raises UnavailableError."""
        ...

    def page(self, institution: str, after: str, limit: int) -> Sequence[Hold]:
        """An institution's holds in order of Study Instance UID. Raises UnavailableError.

        Args:
            institution: its id.
            after: the study of the last one seen; '' to begin.
            limit: at most so many.
        """
        ...
