"""Reads of the index (ports.index.Index) from SQLite."""

import logging
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from imagerepo.adapters.index_sql.engine import INDEX, Budget, PerThread, connect, is_damage
from imagerepo.adapters.index_sql.reads import TOO_BROAD, Ask, Reads, Row
from imagerepo.adapters.index_sql.sqlite_dialect import SQLITE, Sqlite
from imagerepo.errors import TooLargeError, UnavailableError

log = logging.getLogger(__name__)

# What a search may cost, in steps of SQLite's machine, of which a core takes some fourteen million a second. Rows that
# are answered, or passed over because the caller says so, are what it asked for; the rest is looking: at five steps an
# entity, a million of them.
_STEPS = 5_000_000
_STEPS_A_ROW = 60
_OFFSET = 100_000  # rows passed over that are granted steps of their own
_DAMAGED = "the index is damaged ({}): stop the server, run `imagerepo index rebuild`, and start it again"


class SqlIndex(Reads[Budget]):
    """Reads through one connection a thread."""

    def __init__(self, data: Path) -> None:
        super().__init__(_File(data / INDEX))


class _File:
    """A SQLite file (reads.Engine)."""

    def __init__(self, path: Path) -> None:
        self._connections = PerThread(lambda: connect(path))

    @property
    def dialect(self) -> Sqlite:
        """SQLite's."""
        return SQLITE

    def rows(self, sql: str, parameters: Sequence[object]) -> list[Row]:
        """What a statement answers. Raises UnavailableError."""
        try:
            return self._connections.get().execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
                raise TooLargeError(TOO_BROAD) from error
            if is_damage(error):
                log.error("index.damaged", extra={"reason": str(error)})  # noqa: TRY400 - the reason says all
                raise UnavailableError(_DAMAGED.format(error)) from error
            raise UnavailableError(f"the index cannot be read: {error}") from error

    def budget(self, answered: int, passed_over: int) -> Budget:
        """What a search may cost."""
        return Budget(_STEPS + _STEPS_A_ROW * (answered + min(passed_over, _OFFSET)))

    def grant(self, budget: Budget, rows: int) -> None:
        """Add what so many more rows may cost."""
        budget.add(_STEPS_A_ROW * rows)

    @contextmanager
    def within(self, budget: Budget) -> Generator[Ask]:
        """What is asked meanwhile, by this thread, costs no more than is left."""
        with budget.spent_by(self._connections.get()):
            yield self.rows
