"""PostgreSQL finds what SQLite finds, in its order, in pages too."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from imagerepo.adapters.index_sql import reads, search
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.adapters.segments import folder
from imagerepo.model.query import Equals, Found, Key, Level, Query, Wildcard
from tests.harness.databases import opened, with_schema
from tests.harness.index_rows import copy_rows
from tests.unit.index_sql.test_search_pages import ASKED, NAMED, Matches, place, rows, write

LEVELS = list(Level)
STUDIES = 400
FEW = {"by what is few": 10_000, "by what is in order": 0}


@pytest.fixture
def database() -> Iterator[Database]:
    with with_schema() as url, opened(url) as made:
        yield made


@dataclass(frozen=True)
class Filled:
    data: Path
    database: Database

    @property
    def sqlite(self) -> SqlIndex:
        return SqlIndex(self.data)

    @property
    def index(self) -> PostgresIndex:
        return PostgresIndex(self.database)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """Studies of two series of an instance each, in both engines."""
    data = tmp_path_factory.mktemp("rows")
    folder.make_ready(data, ())
    write(data, rows(0, STUDIES))
    with with_schema() as url, opened(url) as database:
        copy_rows(data, database)
        yield Filled(data, database)


def in_pages(index: PostgresIndex, query: Query) -> list[Found]:
    return [one for page in index.pages(query) for one in page]


@pytest.mark.parametrize("few_rows", FEW.values(), ids=FEW)
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("matches", ASKED, ids=NAMED)
def test_what_sqlite_finds_is_found_and_pages_are_the_whole_in_its_order(
    filled: Filled, monkeypatch: pytest.MonkeyPatch, matches: Matches, level: Level, few_rows: int
) -> None:
    monkeypatch.setattr(search, "FEW", few_rows)
    monkeypatch.setattr(search, "MANY", few_rows)
    monkeypatch.setattr(reads, "_ROWS_FIRST", 7)
    monkeypatch.setattr(reads, "_ROWS_A_PAGE", 151)
    query = Query("default", level, matches, 1 << 30)
    sqlite, index = filled.sqlite, filled.index
    whole = list(index.search(query))
    assert sorted(map(repr, whole)) == sorted(map(repr, sqlite.search(query)))
    assert len(whole) >= 60
    assert in_pages(index, query) == whole
    assert in_pages(index, replace(query, offset=5, limit=50)) == whole[5:55]


def test_without_trigrams_the_same_is_found(filled: Filled) -> None:
    with with_schema() as url, opened(url) as database:
        with database.reading() as connection:
            connection.execute("DROP INDEX study_trigrams, series_trigrams")
        index = PostgresIndex(database)
        assert index.search(Query("default", Level.STUDY, (), 10)) == []
        copy_rows(filled.data, database)
        for matches in ASKED:
            for level in LEVELS:
                query = Query("default", level, matches, 1 << 30)
                assert sorted(map(repr, index.search(query))) == sorted(map(repr, filled.sqlite.search(query)))


@pytest.mark.parametrize("matches", [(), ((Key.PATIENT_SEX, Equals("M")),)], ids=["everything", "one sex"])
@pytest.mark.parametrize("level", LEVELS)
def test_what_is_stored_while_pages_are_taken_neither_hides_nor_repeats_anything(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch, level: Level, matches: Matches
) -> None:
    monkeypatch.setattr(reads, "_ROWS_FIRST", 5)
    monkeypatch.setattr(reads, "_ROWS_A_PAGE", 5)
    folder.make_ready(tmp_path, ())
    write(tmp_path, rows(0, 20))
    copy_rows(tmp_path, database)
    index, query = PostgresIndex(database), Query("default", level, matches, 1 << 30)
    uids = [place(one) for one in index.search(query)]
    seen: list[str] = []
    for number, page in enumerate(index.pages(query)):
        seen += [place(one) for one in page]
        write(tmp_path, rows(20 + number, 21 + number))
        copy_rows(tmp_path, database)
    assert seen == uids


def test_between_pages_no_connection_is_held(filled: Filled, tmp_path: Path) -> None:
    with opened(filled.database.place.url, connections=1) as database:
        index = PostgresIndex(database)
        pages = index.pages(Query("default", Level.INSTANCE, (), 1 << 30))
        next(pages)
        index.check()


@pytest.mark.parametrize("value", ["\0", "P\0", "\ud800", "*\ud800*", "%", "\\", "a" * 100_000])
def test_what_cannot_be_in_the_database_is_not_found_in_it(filled: Filled, value: str) -> None:
    index = filled.index
    for key in (Key.PATIENT_ID, Key.PATIENT_NAME, Key.STUDY_INSTANCE_UID, Key.MODALITIES_IN_STUDY):
        for match in (Equals(value), Wildcard(f"*{value}*")):
            if key is not Key.STUDY_INSTANCE_UID or isinstance(match, Equals):
                assert index.search(Query("default", Level.STUDY, ((key, match),), 10)) == []
