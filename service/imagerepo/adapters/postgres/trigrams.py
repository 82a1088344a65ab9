"""Indexes for wildcards inside a value, by the extension pg_trgm; where it can't be had, such searches look at all.

They are no migrations: whether there are any depends on the server, and may change.
"""

from typing import Final

import psycopg
from psycopg import errors
from psycopg.rows import TupleRow

from imagerepo.adapters.postgres.database import Database

_COLUMNS: Final = {
    "study_trigrams": (
        "study",
        "patient_name_key, patient_id, study_description_key, accession_number, referring_physician_name_key",
    ),
    "series_trigrams": ("series", "series_description_key"),
}
_VALID: Final = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass(%s)"
_REFUSED: Final = (
    errors.InsufficientPrivilege,
    errors.FeatureNotSupported,  # it is not installed on the server
    errors.UndefinedFile,  # likewise, of older ones
    errors.UndefinedObject,  # it is in a schema that is not looked into
)


def served(database: Database) -> bool:
    """Whether wildcards inside a value are served by indexes. Raises UnavailableError."""
    with database.reading() as connection:
        return all(_is_valid(connection, name) for name in _COLUMNS)


def make(connection: psycopg.Connection[TupleRow]) -> str | None:
    """Make them, while the tables are read and written; what keeps them from being made, if something does.

    Args:
        connection: in no transaction, since indexes could not be made meanwhile in one.
    """
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        for name, (table, columns) in _COLUMNS.items():
            if not _is_valid(connection, name):
                # What was broken off leaves an index that is written to, and never read.
                connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}".encode())
                parts = ", ".join(f"{one} gin_trgm_ops" for one in columns.split(", "))
                # A list of what is pending would be read by each search, and makes the planner avoid the index.
                made = f"CREATE INDEX CONCURRENTLY {name} ON {table} USING gin ({parts}) WITH (fastupdate = off)"
                connection.execute(made.encode())
    except _REFUSED as error:
        return str(error).splitlines()[0]
    return None


def _is_valid(connection: psycopg.Connection[TupleRow], name: str) -> bool:
    found = connection.execute(_VALID, (name,)).fetchone()
    return found is not None and bool(found[0])
