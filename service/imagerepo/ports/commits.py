"""Bytes, index records and journal entries become durable together, or not at all."""

from collections.abc import Sequence
from typing import Protocol

from imagerepo.model.arrival import Spooled
from imagerepo.model.events import Committed, Request


class Commits(Protocol):
    """Makes requests durable. Safe to call from any number of threads and processes.

    Promises:
    - When `commit` returns, every request that did not fail survives `kill -9` of this process
      and, as far as the store promises it, loss of this machine; its rows are visible to all.
    - A request that fails changes nothing that was stored. It may yet become visible, whole, if it failed after its
      flush; the same request, repeated, is then told that it is a duplicate.
    - Two commits of one instance never get the same version number.
    - Requests that wait at the same time share one flush.
    """

    def commit(self, requests: Sequence[Request]) -> Sequence[Committed]:
        """Commit, in order; blocks. One result a request; a request's failure is its result's `error`."""
        ...

    def spool(self) -> Spooled:
        """Open a place for an instance too large for memory. Raises OutOfSpaceError."""
        ...

    def accepts(self) -> bool:
        """Whether there is room to ingest; cheap enough to ask at each request."""
        ...
