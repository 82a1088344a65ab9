"""Connections that are used again, at most so many at a time.

Of our own because of how it fails: psycopg's pool connects in threads of its own, so that whoever waits learns only
that time is over, not why, and finds a server that has come back as late as the last pause between attempts.
"""

import select
import threading
import time
from collections.abc import Callable
from typing import Final

from psycopg.pq import TransactionStatus

from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.errors import UnavailableError

_IDLE: Final = 60.0  # seconds until one that nobody needed is closed


class Pool:
    """Safe to use from any number of threads."""

    def __init__(self, connect: Callable[[], Connection], size: int) -> None:
        self._connect = connect
        self._size = size
        self._places = threading.BoundedSemaphore(size)
        self._lock = threading.Lock()
        self._idle: list[Connection] = []  # the one that was used last, last
        self._closed = False

    def take(self, within: float) -> Connection:
        """A connection for the caller alone, to be given back; one that the server has ended is not taken.

        Raises:
            UnavailableError: there is none within so many seconds, or the database does not let us in.
        """
        if not self._places.acquire(timeout=within):
            raise UnavailableError(
                f"all {self._size} connections to the database were in use for {within:g} s; "
                "cluster.database.connections says how many there may be"
            )
        try:
            while (found := self._pop()) is not None:
                if time.monotonic() < found.ends_at and not _has_something_to_say(found):
                    return found
                found.close()
            return self._connect()
        except BaseException:
            self._places.release()
            raise

    def give_back(self, connection: Connection) -> None:
        """Let others have it, unless it is of no more use."""
        useless = connection.closed or connection.info.transaction_status is not TransactionStatus.IDLE
        now = connection.idle_since = time.monotonic()
        with self._lock:
            dropped = [one for one in self._idle if one.idle_since < now - _IDLE]
            if dropped:
                self._idle = [one for one in self._idle if one.idle_since >= now - _IDLE]
            if useless or self._closed:
                dropped.append(connection)
            else:
                self._idle.append(connection)
        self._places.release()
        for one in dropped:
            one.close()

    def close(self) -> None:
        """Close those that nobody uses now, and the others when they are given back."""
        with self._lock:
            self._closed, idle, self._idle = True, self._idle, []
        for one in idle:
            one.close()

    def _pop(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None


def _has_something_to_say(connection: Connection) -> bool:
    """Whether the server sent something though nothing was asked: mostly that it has ended the connection."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
