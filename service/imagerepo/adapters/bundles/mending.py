"""Repairs of rows that follow from other rows. Each holds the lock that commits hold, or adds what is missing.

An object's count decides when it goes. It is set only if no version of another series lies in it, which is looked for
in all ranges: with that, nothing goes that any row names.
"""

from contextlib import closing
from datetime import UTC, datetime
from typing import Final

import psycopg
from psycopg.rows import TupleRow

from imagerepo.adapters.bundles import known
from imagerepo.adapters.bundles.object_check import COUNTS
from imagerepo.adapters.index_sql.row_check import MISSING
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.dialect import Postgres
from imagerepo.adapters.postgres.failures import unavailable
from imagerepo.adapters.postgres.settled import in_transaction

_WAIT: Final = "5s"  # for what is being stored to a study
_STUDY: Final = "SELECT n.name, t.uid FROM study t JOIN institution n ON n.id = t.institution_id WHERE t.id = %s"
_COUNT_SERIES: Final = (
    "UPDATE series s SET instance_count = "
    "(SELECT count(*) FROM instance i WHERE i.study_id = s.study_id AND i.series_id = s.id) WHERE s.study_id = %s"
)
_COUNT_STUDY: Final = (
    "UPDATE study t SET series_count = (SELECT count(*) FROM series s WHERE s.study_id = t.id), "
    "instance_count = (SELECT count(*) FROM instance i WHERE i.study_id = t.id) WHERE t.id = %s"
)
_KEY: Final = "SELECT key FROM object WHERE id = %s"
_RANGES: Final = 'SELECT count(*) FROM "range" WHERE object_id = %s'
_SET_OBJECT: Final = "UPDATE object SET live = %s, gone_at = %s WHERE id = %s"
_ADD_HOLDINGS: Final = (
    "INSERT INTO holding AS h (institution_id, slot, study_count, series_count, instance_count, hot_bytes) "
    "SELECT %s, 0, d.studies, d.series, d.instances, d.bytes "
    f"FROM ({Postgres(has_trigrams=False).statement(MISSING)}) AS d ON CONFLICT (institution_id, slot) DO UPDATE SET "
    "study_count = h.study_count + excluded.study_count, series_count = h.series_count + excluded.series_count, "
    "instance_count = h.instance_count + excluded.instance_count, hot_bytes = h.hot_bytes + excluded.hot_bytes"
)


class Mender:
    """Repairs; safe while replicas serve. Each raises UnavailableError: nothing was changed."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def study(self, key: int) -> bool:
        """Count a study's instances and series anew."""
        return in_transaction(self._database, lambda connection: _count_study(connection, key))

    def object_(self, key: int) -> bool:
        """Count an object's versions anew; False: versions of another series lie in it."""
        (everywhere,) = self.ask_long(_RANGES, (key,))[0]
        return in_transaction(self._database, lambda connection: _count_object(connection, key, everywhere))

    def holdings(self, institution: int) -> bool:
        """Add to an institution's sums what they lack."""
        self.ask_long(_ADD_HOLDINGS, (institution, *(institution,) * 5))
        return True

    def ask_long(self, statement: str, values: tuple[int, ...]) -> list[TupleRow]:
        """What a statement answers that may take as long as it takes."""
        try:
            with closing(self._database.place.connect_for_changes()) as connection:
                cursor = connection.execute(statement.encode(), values)
                return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise unavailable(error) from error


def _count_study(connection: Connection, key: int) -> bool:
    row = connection.run(_STUDY, (key,)).fetchone()
    if row is None:
        return False
    _lock(connection, *row)
    connection.run(_COUNT_SERIES, (key,))
    connection.run(_COUNT_STUDY, (key,))
    return True


def _count_object(connection: Connection, key: int, everywhere: int) -> bool:
    row = connection.run(_KEY, (key,)).fetchone()
    if row is None:
        return False
    institution, study, *_ = row[0].split("/")
    _lock(connection, institution, study)
    (found,) = connection.run(COUNTS, ([key], [key])).fetchall()
    count = found[5]
    if count != everywhere:
        return False
    connection.run(_SET_OBJECT, (count, None if count else microseconds(datetime.now(UTC)), key))
    return True


def _lock(connection: Connection, institution: str, study_uid: str) -> None:
    connection.run("SELECT set_config('lock_timeout', %s, true)", (_WAIT,))
    connection.run("SELECT pg_advisory_xact_lock(%s)", (known.lock_of_study(institution, study_uid),))
