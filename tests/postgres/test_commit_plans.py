"""Statements of commits read and change rows by an index, whatever PostgreSQL knows of how many there are."""

from collections.abc import Iterator

import pytest

from imagerepo.adapters.bundles import compaction_rows, feed, journal, ledger_writing, reclaim, signing
from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.postgres.database import Database
from tests.harness import databases

STATEMENTS = {
    "versions": (sql.READ_VERSIONS, ("[]",)),
    "series": (sql.READ_SERIES, ("[]",)),
    "links": (sql.READ_LINKS, ("writer", ["default"])),
    "counts": (sql.COUNT, ("[]", "[]", "[]")),
    "studies": (sql.CHANGE_STUDIES, ("[]",)),
    "changed series": (sql.CHANGE_SERIES, ("[]",)),
    "instances": (sql.CHANGE_INSTANCES, ("[]",)),
    "first of studies": (sql.FIRST_OF_STUDIES, ([1, 2],)),
    "first of series": (sql.FIRST_OF_SERIES, ("[]",)),
    "modalities": (sql.MODALITIES, ([1, 2],)),
    "extent of a deletion": (sql.COUNT_DOOMED, (1, None, None, None, None)),
    "deletion": (sql.DELETE, (1, None, None, None, None, 1, 1)),
    "deletion of an instance": (sql.DELETE, (1, "1.2", "1.2", "1.2.3", "1.2.3", 1, 1)),
    "empty series": (sql.DROP_EMPTY_SERIES, (1,)),
    "sources": (sql.SOURCES, ("[]",)),
    "commit": (sql.FIND_COMMIT, (1, "writer")),
    "object": (sql.FIND_OBJECT, ("store", "key")),
    "objects that go": (reclaim._TAKE, (1, 1, True, 10)),
    "parts that go": (reclaim._FORGET_PARTS, ([1, 2],)),
    "feed": (feed._SINCE, ("5", "", 1, 10)),
    "journal": (journal._IN_ORDER, (1, "", 10)),
    "chains": (journal._BY_CHAIN, ("", "", 1, 10)),
    "rows for the ledger": (ledger_writing._SINCE, ("default", "5", 1, 10)),
    "rows that it lacks": (ledger_writing._FIRST_MISSING, ("default",)),
    "chain at an entry": (ledger_writing._AT, ("default", "writer", 1)),
    "chains to be signed": (signing._UNSIGNED, (10,)),
    "where a version lies": (journal._LIES_AT, ("1.2.3", 1, None, "default")),
    "objects of a series": (compaction_rows._LYING, (1, 1, 1, 1)),
    "versions of objects": (compaction_rows._HELD, (1, 1, 1, 1, [1, 2])),
    "moved ranges": (compaction_rows._MOVE, (1, "[]")),
    "freed objects": (compaction_rows._FREE, (1, "[]")),
    "verified copies": (compaction_rows._VERIFIED, (1, "[]")),
    "quiet series": (compaction_rows._QUIET, (1, 1, 10)),
    "all series": (compaction_rows._STORED, (1, 10)),
    "forgotten series": (compaction_rows._FORGET, ([1], [1])),
}


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    with databases.with_schema() as url, databases.opened(url) as opened:
        yield opened


@pytest.mark.parametrize("what", STATEMENTS)
def test_no_table_is_read_whole(database: Database, what: str) -> None:
    statement, parameters = STATEMENTS[what]
    with database.reading() as connection:
        plan = "\n".join(line for (line,) in connection.run(f"EXPLAIN {statement}", parameters))
    assert "Seq Scan" not in plan, plan
    assert "Index" in plan, plan
