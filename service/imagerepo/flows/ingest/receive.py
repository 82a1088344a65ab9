"""Receive one Part 10 file: in memory while it is small and there is room, else where it will stay.

All arrivals of a worker share one budget, so that memory is bounded whatever is sent at once. An arrival
that finds the budget spent is not made to wait, which could leave every sender waiting for the others:
it goes to a file as it comes.
"""

from threading import Lock
from typing import Self

from imagerepo.errors import TooLargeError
from imagerepo.model.arrival import Buffer, InMemory, Payload, Spooled
from imagerepo.ports.commits import Commits


class Budget:
    """Bytes that one worker may hold of arriving instances."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._lock = Lock()

    def take(self, size: int) -> bool:
        """Take `size` bytes if they are free."""
        with self._lock:
            if size > self._free:
                return False
            self._free -= size
            return True

    def give_back(self, size: int) -> None:
        """Return bytes that were taken."""
        with self._lock:
            self._free += size


class Receiver:
    """Collects one file's bytes. Use as a context: leaving it returns memory and removes what no commit named.

    Not safe for two threads at once. `write` blocks on the disk only when `blocks` said so.
    """

    _STEP = 1 << 16  # bytes taken from the budget at a time

    def __init__(self, commits: Commits, budget: Budget, *, in_memory: int, limit: int, prefix: bytes = b"") -> None:
        """Begin a file.

        Args:
            commits: gives a place to what outgrows memory.
            budget: shared by the worker's arrivals.
            in_memory: bytes kept in memory at the most.
            limit: bytes of the largest file accepted.
            prefix: bytes that precede what is received (C-STORE: preamble and File Meta Information).
        """
        self._commits = commits
        self._budget = budget
        self._in_memory = in_memory
        self._limit = limit
        self._prefix = prefix
        self._body = bytearray()
        self._taken = 0
        self._spool: Spooled | None = None
        self.size = len(prefix)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def blocks(self, size: int) -> bool:
        """Whether writing `size` more bytes may wait for the disk."""
        return self._spool is not None or self.size + size > self._in_memory

    def write(self, chunk: Buffer) -> None:
        """Append a chunk.

        Raises:
            TooLargeError: above the limit; nothing more can be written.
            OutOfSpaceError: the disk is full.
        """
        self.size += len(chunk)
        if self.size > self._limit:
            raise TooLargeError(
                f"the instance exceeds the limit of {self._limit} bytes (setting storage.instance_size_limit)"
            )
        if self._spool is None and (self.size > self._in_memory or not self._afford(len(self._body) + len(chunk))):
            self._spill()
        if self._spool is None:
            self._body += chunk
        else:
            self._spool.write(chunk)

    def payload(self) -> Payload:
        """What was received; valid until the context is left."""
        if self._spool is not None:
            return self._spool
        buffers = (self._prefix, self._body) if self._prefix else (self._body,)
        return InMemory(buffers, self.size)

    def release(self) -> None:
        """Return the memory, and remove the file unless a commit named it."""
        self._budget.give_back(self._taken)
        self._taken = 0
        self._body = bytearray()
        if self._spool is not None:
            self._spool.discard()

    def _afford(self, size: int) -> bool:
        if size <= self._taken:
            return True
        # Doubling keeps the lock away from small chunks without promising much more than is used.
        more = max(self._STEP, size - self._taken, min(self._taken, self._in_memory - self._taken))
        if not self._budget.take(more):
            return False
        self._taken += more
        return True

    def _spill(self) -> None:
        self._spool = self._commits.spool()
        if self._prefix:
            self._spool.write(self._prefix)
        if self._body:
            self._spool.write(self._body)
        self._body = bytearray()
        self._budget.give_back(self._taken)
        self._taken = 0
