"""The database of a cluster, for one process: reads, transactions, and how long they may take."""

import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from imagerepo.adapters.postgres.connecting import STATEMENT, Connection, Place
from imagerepo.adapters.postgres.failures import RolledBackError, of_commit, unavailable
from imagerepo.adapters.postgres.pool import Pool
from imagerepo.errors import TooLargeError, UnavailableError

_WAIT: Final = 5.0  # seconds for a connection
_LATE: Final = 1.0  # seconds that a server may take to end a statement whose time is over


class Database:
    """Safe to use from any number of threads; connects when it is first asked."""

    def __init__(self, url: str, password_file: Path | None = None, connections: int = 8) -> None:
        """Raises SettingsError: the URL or the file cannot be used; whether the server answers is not asked yet.

        Args:
            url: `postgresql://user@host:port/name`.
            password_file: none: the server asks for none.
            connections: at the most.
        """
        self.place = Place(url, password_file)
        self.place.check()
        self._pool = Pool(self.place.connect, connections)

    @contextmanager
    def reading(self) -> Generator[Connection]:
        """A connection in which each statement is a transaction of its own.

        psycopg's errors leave as UnavailableError. Raises UnavailableError if there is no connection within 5 s.
        """
        with self._taken() as connection:
            try:
                yield connection
            except psycopg.Error as error:
                raise _made_of(error, connection) from error

    @contextmanager
    def transaction(self) -> Generator[Connection]:
        """A connection in one transaction (READ COMMITTED), which is durable when this is left without an error.

        Its first statement begins it, so that `connection.pipeline()` may have it all in one go.

        Raises:
            InDoubtError: it may have been committed, or not.
            UnavailableError: nothing has changed; RolledBackError, if trying again at once may help.
        """
        with self._taken() as connection:
            connection.autocommit = False
            try:
                yield connection
            except BaseException as error:
                with suppress(psycopg.Error):  # it is rolled back when the connection ends, too
                    connection.rollback()
                if isinstance(error, psycopg.Error):
                    raise _made_of(error, connection) from error
                raise
            _commit(connection)
            connection.autocommit = True

    def close(self) -> None:
        """Close connections that nobody uses, the others when they are given back."""
        self._pool.close()

    @contextmanager
    def _taken(self) -> Generator[Connection]:
        connection = self._pool.take(_WAIT)
        try:
            yield connection
        finally:
            _settle(connection)
            self._pool.give_back(connection)


def _made_of(error: psycopg.Error, connection: Connection) -> UnavailableError:
    if isinstance(error, errors.ReadOnlySqlTransaction):
        connection.close()  # another server is the primary by now: the next connection finds it
    return unavailable(error)


def _commit(connection: Connection) -> None:
    # The server answers COMMIT of a transaction in which a statement failed with a rollback, and no error.
    if connection.info.transaction_status is TransactionStatus.INERROR:
        connection.rollback()
        raise RolledBackError("a statement of the transaction failed")
    try:
        connection.commit()
    except psycopg.Error as error:
        raise of_commit(error, connection) from error


def _settle(connection: Connection) -> None:
    """As the next user expects it; one in the middle of something is not given to anybody."""
    if not connection.closed and connection.info.transaction_status is TransactionStatus.IDLE:
        connection.autocommit = True


class Budget:
    """Seconds that statements may take in the server, over any number of them."""

    def __init__(self, seconds: float, refused: Callable[[], TooLargeError]) -> None:
        """`refused` makes what is raised when they are spent."""
        self._left = seconds
        self._refused = refused

    def add(self, seconds: float) -> None:
        """Grant more."""
        self._left += seconds

    @contextmanager
    def spent_by(self, connection: Connection) -> Generator[None]:
        """Have what runs meanwhile ended when none are left. Raises what was given, TooLargeError."""
        if self._left <= 0:
            raise self._refused()
        allowed = min(self._left, STATEMENT)
        _limit(connection, allowed)
        begun = time.monotonic()
        try:
            yield
        except errors.QueryCanceled as error:
            # One that was ended long after that was held up by something else: the server was paused, or we were.
            if allowed <= time.monotonic() - connection.asked_at <= allowed + _LATE:
                raise self._refused() from error
            raise
        finally:
            self._left -= time.monotonic() - begun
            with suppress(psycopg.Error):  # of a connection that is lost, which says so itself
                _limit(connection, STATEMENT)


def _limit(connection: Connection, seconds: float) -> None:
    connection.execute("SELECT set_config('statement_timeout', %s, false)", (str(math.ceil(seconds * 1000)),))
