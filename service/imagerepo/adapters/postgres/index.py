"""Reads of the index (ports.index.Index) from PostgreSQL."""

import math
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Final

from imagerepo.adapters.index_sql.reads import TOO_BROAD, Ask, Reads, Row
from imagerepo.adapters.postgres import trigrams
from imagerepo.adapters.postgres.database import Budget, Database
from imagerepo.adapters.postgres.dialect import Postgres
from imagerepo.adapters.postgres.standbys import await_standbys
from imagerepo.errors import TooLargeError

# What a search may cost, in seconds of the server's. Rows that are answered, or passed over because the caller says
# so, are what it asked for; the rest is looking, at some million entities a second.
_SECONDS: Final = 5.0
_SECONDS_A_ROW: Final = 0.000_1
_OFFSET: Final = 100_000  # rows passed over that are granted time of their own
_MOST: Final = 20.0  # seconds, whatever is asked for
_LOOK: Final = 60.0  # seconds until missing trigrams are looked for again


class PostgresIndex(Reads[Budget]):
    """Reads through the connections that its process has; asks nothing before it is asked."""

    def __init__(self, database: Database) -> None:
        super().__init__(_Tables(database))
        self._database = database

    def settle(self) -> None:
        """Wait until the standbys that commits wait for have what was read. Raises UnavailableError."""
        with self._database.reading() as connection:
            await_standbys(connection)


class _Tables:
    """Tables in PostgreSQL (reads.Engine)."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dialect = Postgres(has_trigrams=False)
        self._looked_at = -math.inf  # of time.monotonic()

    @property
    def dialect(self) -> Postgres:
        """PostgreSQL's, with trigrams if there are any: they may be made at any time, and stay."""
        if not self._dialect.has_trigrams and time.monotonic() - self._looked_at > _LOOK:
            self._dialect = Postgres(trigrams.served(self._database))
            self._looked_at = time.monotonic()
        return self._dialect

    def rows(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        """What a statement answers. Raises UnavailableError."""
        with self._database.reading() as connection:
            return connection.run(sql, _given(parameters)).fetchall()

    def budget(self, answered: int, passed_over: int) -> Budget:
        """What a search may cost."""
        rows = answered + min(passed_over, _OFFSET)
        return Budget(min(_SECONDS + _SECONDS_A_ROW * rows, _MOST), _too_broad)

    def grant(self, budget: Budget, rows: int) -> None:
        """Add what so many more rows may cost."""
        budget.add(_SECONDS_A_ROW * rows)

    @contextmanager
    def within(self, budget: Budget) -> Generator[Ask]:
        """What is asked meanwhile takes no longer than is left."""
        with self._database.reading() as connection, budget.spent_by(connection):
            # Planned for its values: a plan for any values may be far from the best one for these.
            yield lambda sql, given: connection.execute(sql.encode(), _given(given), prepare=False).fetchall()


def _given(parameters: Sequence[object]) -> list[object]:
    return [_storable(one) if isinstance(one, str) else one for one in parameters]


def _storable(text: str) -> str:
    """As it would be stored: PostgreSQL's text has neither zero characters nor halves of surrogate pairs."""
    if text.isascii() and "\0" not in text:
        return text
    return text.encode(errors="replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")


def _too_broad() -> TooLargeError:
    return TooLargeError(TOO_BROAD)
