"""What a rebuild of the index notes while it is under way: tables of its own, gone when it is complete.

As long as they are there, no replica starts (postgres/schema.py), and a rebuild that was killed goes on where it was.
A replica that runs all the while, and looks for its database over and over, finds one that is read-only.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from enum import StrEnum
from typing import Final

import psycopg

from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.failures import unavailable
from imagerepo.adapters.postgres.schema import REBUILDING
from imagerepo.errors import SettingsError

_LOCK: Final = 0x72656275696C64  # "rebuild": of advisory locks, whose names are numbers
_PAGE: Final = 500  # studies
_NAMED: Final = 'institution text COLLATE "C" NOT NULL, study text COLLATE "C" NOT NULL'
_MAKE: Final = {
    REBUILDING: 'institution text COLLATE "C" PRIMARY KEY, stage text NOT NULL',
    "rebuild_study": f"{_NAMED}, PRIMARY KEY (institution, study)",
    "rebuild_commit": f"{_NAMED}, commit_number bigint NOT NULL, place bigint NOT NULL, "
    "PRIMARY KEY (institution, study, commit_number)",
    "rebuild_listed": f'{_NAMED}, key text COLLATE "C" NOT NULL, size bigint NOT NULL, '
    "PRIMARY KEY (institution, study, key)",
    "rebuild_new": 'name text COLLATE "C" NOT NULL, key text COLLATE "C" NOT NULL, '
    'institution text COLLATE "C" NOT NULL, size bigint NOT NULL, instances bigint[] NOT NULL, '
    "PRIMARY KEY (name, key)",
}
_READ_ONLY: Final = "default_transaction_read_only"
_OF_JOURNAL: Final = ("journal", "chain", "ledger", "ledger_chain", "rebuild_commit", "rebuild_study")
_OURS: Final = ("institution", "study", "instance", "version", "object", "journal", "hold", "gone")  # that are empty
_OTHERS: Final = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'imagerepo' "
    "AND pid <> pg_backend_pid()"
)
_ADD_STUDIES: Final = (
    "INSERT INTO rebuild_study (institution, study) SELECT %s, u FROM unnest(%s::text[]) AS u ON CONFLICT DO NOTHING"
)
_STUDIES: Final = (
    "SELECT institution, study FROM rebuild_study WHERE (institution, study) > (%s, %s) "
    "ORDER BY institution, study LIMIT %s"
)
_NUMBERS: Final = (
    "SELECT setval('commit_number', greatest(n.last_value, coalesce(j.last, 0) + %s)) FROM commit_number n, "
    "(SELECT max(commit_number) AS last FROM journal) j"
)
_SKIPPED: Final = 1 << 20  # commit numbers: more than were given after the last one that was kept


class Stage(StrEnum):
    """How far an institution is."""

    FOUND = "found"
    JOURNAL = "journal"  # its journal is there
    LISTED = "listed"  # all that lies in its bucket is noted


class Staging:
    """The notes of one rebuild, and its lock."""

    def __init__(self, database: Database) -> None:
        """Take the lock. Raises SettingsError, UnavailableError."""
        self._database = database
        self._holder = database.place.connect_for_changes()
        try:
            (is_ours,) = self._holder.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() or (False,)
        except psycopg.Error as error:
            self.close()
            raise unavailable(error) from error
        if not is_ours:
            self.close()
            raise SettingsError("another `imagerepo index rebuild` runs on this database")

    def begin(self) -> None:
        """Make the tables, or find those of a rebuild that was killed; nobody else can connect from here on.

        Raises:
            SettingsError: the database has something in it, or replicas use it; nothing was changed.
        """
        with self._database.transaction() as connection:
            (there,) = connection.run("SELECT to_regclass(%s) IS NOT NULL", (REBUILDING,)).fetchone() or (False,)
            if not there:
                _require_empty(connection)
                for table, columns in _MAKE.items():
                    connection.run(f"CREATE TABLE {table} ({columns})")
                connection.run(f"ALTER DATABASE {_name(connection)} SET {_READ_ONLY} = on")
        with self._database.reading() as connection:
            (others,) = connection.run(_OTHERS).fetchone() or (0,)
        if others > 1:  # the lock's own connection is one
            if not there:
                self._leave()
            raise SettingsError("replicas or commands of imagerepo use this database: end them, then run this again")

    def stages(self) -> dict[str, Stage]:
        """How far institutions are."""
        with self._database.reading() as connection:
            return {name: Stage(stage) for name, stage in connection.run(f"SELECT * FROM {REBUILDING}")}

    def enter(self, institution: str, stage: Stage) -> None:
        """Note how far one is."""
        statement = (
            f"INSERT INTO {REBUILDING} (institution, stage) VALUES (%s, %s) "
            "ON CONFLICT (institution) DO UPDATE SET stage = excluded.stage"
        )
        with self._database.reading() as connection:
            connection.run(statement, (institution, stage))

    def forget_journal(self, institution: str) -> None:
        """Take away what a rebuild that was killed has left of a journal, which begins anew."""
        for table in _OF_JOURNAL:
            self.run_long(f"DELETE FROM {table} WHERE institution = %s", (institution,))

    def studies(self) -> Iterator[tuple[str, str]]:
        """Those that are still to be looked at: institution, UID."""
        after = ("", "")
        while True:
            with self._database.reading() as connection:
                rows = connection.run(_STUDIES, (*after, _PAGE)).fetchall()
            for institution, study in rows:
                after = (institution, study)
                yield after
            if len(rows) < _PAGE:
                return

    def count_studies(self) -> int:
        """How many those are."""
        with closing(self._database.place.connect_for_changes()) as connection:
            (found,) = connection.execute("SELECT count(*) FROM rebuild_study").fetchone() or (0,)
        return found

    def skip_numbers(self) -> None:
        """Have commit numbers go on behind all that were given."""
        with self._database.reading() as connection:
            connection.run(_NUMBERS, (_SKIPPED,))

    def finish(self) -> None:
        """The index is complete."""
        self.run_long("ANALYZE", ())
        self._leave()

    def _leave(self) -> None:
        with self._database.transaction() as connection:
            connection.run(f"DROP TABLE {', '.join(_MAKE)}")
            connection.run(f"ALTER DATABASE {_name(connection)} RESET {_READ_ONLY}")

    def run_long(self, statement: str, values: Sequence[object]) -> None:
        """A statement that takes as long as it takes. Raises UnavailableError."""
        try:
            self._holder.execute(statement.encode(), values or None)
        except psycopg.Error as error:
            raise unavailable(error) from error

    def close(self) -> None:
        """Let go of the lock."""
        self._holder.close()


def writable(url: str) -> str:
    """The database as a rebuild connects to it; whoever does not say this finds it read-only, and leaves it alone."""
    return f"{url}{'&' if '?' in url else '?'}options=-c%20{_READ_ONLY}%3Doff"


def _name(connection: Connection) -> str:
    (name,) = connection.run("SELECT quote_ident(current_database())").fetchone() or ("",)
    return name


def _require_empty(connection: Connection) -> None:
    for table in _OURS:
        if connection.run(f'SELECT 1 FROM "{table}" LIMIT 1').fetchone() is not None:
            raise SettingsError(
                "cluster.database.url: the database is not empty, and nothing of it is taken away by guess; "
                "drop it, make it anew, run `imagerepo schema upgrade`, then this again"
            )


def copy(connection: Connection, table: str, columns: str, rows: Iterable[Sequence[object]]) -> None:
    """Add rows to a table, in the transaction of whoever calls."""
    with connection.cursor().copy(f"COPY {table} ({columns}) FROM STDIN".encode()) as into:
        for row in rows:
            into.write_row(row)


def add_studies(connection: Connection, institution: str, studies: Iterable[str]) -> None:
    """Note studies that have to be looked at."""
    connection.run(_ADD_STUDIES, (institution, list(studies)))
