"""A connection to PostgreSQL on which no wait is without end.

The server ends statements, waits for locks and transactions of whoever fell silent; that covers neither a server that
is itself paused nor a network that swallows packets, for which there is a limit of our own: `Connection.wait`.
"""

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow

from imagerepo.adapters.postgres import planning
from imagerepo.adapters.postgres.failures import of_connecting
from imagerepo.errors import SettingsError, UnavailableError

STATEMENT: Final = 30.0
"""Seconds that a statement may take, unless it has a budget of its own."""
_ANSWER: Final = (
    STATEMENT + 5.0
)  # seconds until the server counts as dead, which would have ended the statement itself
_CONNECT: Final = 5  # seconds for each host
_LIFETIME: Final = 900.0  # seconds, less up to a third: so that connections follow a server that moves
_SESSION: Final = (
    "SET synchronous_commit = on; "  # what is acknowledged is on disk, whatever the server's default
    f"SET statement_timeout = {round(STATEMENT * 1000)}; "
    "SET lock_timeout = 8000; "
    # A replica that is paused in the middle of a transaction, or is gone, must not hold its locks for as long.
    "SET idle_in_transaction_session_timeout = 5000; "
    "SET client_connection_check_interval = 1000; SET tcp_user_timeout = 8000; "
    "SET client_min_messages = error; " + planning.SESSION
)
_CHANGING: Final = (
    "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; "
    # All who come later wait behind whoever waits for a table's lock.
    "SET lock_timeout = 2000"
)
_NETWORK: Final[Mapping[str, str | int]] = {
    "connect_timeout": _CONNECT,
    "tcp_user_timeout": 8000,  # milliseconds without an acknowledgement
    "keepalives_idle": 3,  # seconds without a word, while an answer is waited for: an acknowledgement is asked for
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "target_session_attrs": "read-write",  # of several hosts, the primary
    "application_name": "imagerepo",
    "client_encoding": "UTF8",
}


class Connection(psycopg.Connection[TupleRow]):
    """A connection that is closed when the server does not answer within a limit."""

    ends_at: float = 0.0  # of time.monotonic(): not used any more after that
    idle_since: float = 0.0  # likewise
    asked_at: float = 0.0  # likewise: the last question

    def run(self, statement: str, values: Sequence[object] = ()) -> psycopg.Cursor[TupleRow]:
        """Execute a statement that is put together from names of our own; values are parameters, `%s`."""
        return self.execute(statement.encode(), values or None)

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:  # noqa: ANN401 - as inherited
        """Wait for an answer."""
        self.asked_at = time.monotonic()
        try:
            return super().wait(gen, interval, _ANSWER if timeout is None else timeout)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - documented
            self.pgconn.finish()  # an answer that came now would be taken for that to the next question
            raise psycopg.OperationalError("no answer from the server") from error


@dataclass(frozen=True, slots=True)
class Place:
    """Where the database is."""

    url: str  # without a password
    password_file: Path | None

    def check(self) -> None:
        """Raise SettingsError if no server could be asked with it."""
        self._password(SettingsError)
        try:
            conninfo_to_dict(self.url)
        except psycopg.ProgrammingError as error:
            raise SettingsError(f"cluster.database.url: {str(error).strip()}") from error

    def connect(self) -> Connection:
        """Open a connection, in which each statement is a transaction of its own. Raises UnavailableError."""
        try:
            connection = Connection.connect(self._conninfo(), autocommit=True)
            connection.run(_SESSION)
        except psycopg.Error as error:
            raise of_connecting(error) from error
        connection.ends_at = time.monotonic() + _LIFETIME * random.uniform(2 / 3, 1)  # noqa: S311 - spreads load
        return connection

    def connect_for_changes(self) -> psycopg.Connection[TupleRow]:
        """Open a connection for an upgrade of the schema, whose statements take as long as they take."""
        try:
            connection = psycopg.connect(self._conninfo(), autocommit=True)
            connection.execute(_CHANGING)
        except psycopg.Error as error:
            raise of_connecting(error) from error
        return connection

    def _conninfo(self) -> str:
        password = self._password(UnavailableError)
        own = {} if password is None else {"password": password}
        return make_conninfo("", **{**_NETWORK, **conninfo_to_dict(self.url), **own})

    def _password(self, kind: type[SettingsError | UnavailableError]) -> str | None:
        """Read again for each connection, so that it may be changed while serving."""
        if self.password_file is None:
            return None
        try:
            return self.password_file.read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise kind(f"cluster.database.password_file: cannot read {self.password_file}: {reason}") from error
