"""Index and stored bytes held against each other."""

from collections.abc import Iterator
from typing import Protocol

from imagerepo.model.findings import Examined, Finding


class Checking(Protocol):
    """An examination of all that is stored. What is stored is not changed by it, but for what it repairs."""

    @property
    def examined(self) -> Examined:
        """How far it has come."""
        ...

    def findings(self) -> Iterator[Finding]:
        """All that does not fit, as it is found; memory does not grow with what is stored.

        Raises:
            UnavailableError: index or store do not answer; begin anew.
            DamagedError: neither can be read.
        """
        ...
