"""Telling application entities what became of what they asked for."""

from typing import Protocol

from imagerepo.model.commitment import Report
from imagerepo.model.peer import Peer


class Reporters(Protocol):
    """Reports over associations of our own. Safe to call from any number of threads."""

    def report(self, peer: Peer, calling_ae_title: str, report: Report) -> int:
        """Tell `peer`; blocks until it has answered.

        Returns:
            Its status (PS3.7 section 10.1.1.1.8); 0: it knows now.

        Raises:
            PeerError: it is unreachable, refuses, is silent.
        """
        ...
