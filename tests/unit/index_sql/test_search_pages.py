"""Pages go on from each other by keys: none is lost or repeated while much is stored, and a far one costs no more."""

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imagerepo.adapters.index_sql import reader, reads, search
from imagerepo.adapters.index_sql.apply import Applier, Stored
from imagerepo.adapters.index_sql.engine import INDEX, connect, transaction
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.index_sql.search import FEW, Statement, Way, way
from imagerepo.adapters.index_sql.sqlite_dialect import SQLITE
from imagerepo.adapters.segments import folder
from imagerepo.errors import TooLargeError
from imagerepo.model.query import (
    Between,
    BetweenMoments,
    Equals,
    Found,
    Fuzzy,
    Key,
    Level,
    Match,
    OneOf,
    Query,
    Wildcard,
)
from imagerepo.model.uids import Uid
from tests.harness.dicom_file import ct
from tests.unit.index_sql.test_apply import stored

Matches = tuple[tuple[Key, Match], ...]
STUDIES = 1500
LEVELS = list(Level)
ASKED: list[Matches] = [
    (),
    ((Key.STUDY_DATE, Between("20240101", "20241231")),),
    ((Key.STUDY_DATE, BetweenMoments("2024010108", "20241231")),),
    ((Key.PATIENT_NAME, Wildcard("D*")),),
    ((Key.PATIENT_NAME, Wildcard("*OHN*")),),
    ((Key.PATIENT_NAME, Equals("doe^john")),),
    ((Key.PATIENT_NAME, Fuzzy("john")),),
    ((Key.PATIENT_SEX, Equals("M")),),
    ((Key.MODALITIES_IN_STUDY, Equals("CT")),),
    ((Key.MODALITY, Equals("CT")),),
    ((Key.MODALITY, Wildcard("C*")),),
    ((Key.MODALITIES_IN_STUDY, OneOf(("CT", "MR"))),),
    ((Key.SERIES_DESCRIPTION, Wildcard("AX*")),),
    ((Key.SERIES_DESCRIPTION, Wildcard("*XIA*")),),
    ((Key.SERIES_DESCRIPTION, Wildcard("*xia*")), (Key.PATIENT_NAME, Wildcard("*OHN*"))),
    ((Key.STUDY_INSTANCE_UID, OneOf(tuple(f"1.2.{number}" for number in range(0, 900, 3)))),),
    ((Key.SERIES_INSTANCE_UID, OneOf(tuple(f"1.3.{number}" for number in range(0, 900, 3)))),),
    ((Key.SOP_INSTANCE_UID, OneOf(tuple(f"1.4.{number}" for number in range(0, 900, 3)))),),
]
NAMED = [" ".join(f"{key.name} {type(match).__name__}" for key, match in asked) or "everything" for asked in ASKED]


def rows(first: int, last: int) -> list[Stored]:
    """Studies of two series of an instance each, two studies a patient."""
    one = stored(ct(1), 1, "somewhere")
    made: list[Stored] = []
    for number in range(2 * first, 2 * last):
        study = number // 2
        attributes = replace(
            one.attributes,
            study_uid=Uid(f"1.2.{study}"), series_uid=Uid(f"1.3.{number}"), instance_uid=Uid(f"1.4.{number}"),
            patient_id=f"P{study // 2}", patient_name=("DOE^JOHN", "DAY^ADA")[study % 2], patient_sex="MF"[study % 2],
            modality=("CT", "MR", "CR")[number % 3], study_date=f"2024{study % 12 + 1:02}01",
            study_time=f"{study % 24:02}15", series_description=("axial", "AXIS", "other")[number % 3],
        )  # fmt: skip
        made.append(replace(one, attributes=attributes, commit=number + 1))
    return made


def write(data: Path, batch: list[Stored]) -> None:
    opened = connect(data / INDEX)
    with transaction(opened):
        Applier(opened).add(batch)
    opened.close()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("pages")
    folder.make_ready(made, ())
    write(made, rows(0, STUDIES))
    return made


@pytest.fixture(scope="module")
def connection(data: Path) -> Iterator[sqlite3.Connection]:
    opened = connect(data / INDEX)
    yield opened
    opened.close()


def in_pages(index: SqlIndex, query: Query) -> list[Found]:
    return [one for page in index.pages(query) for one in page]


@pytest.mark.parametrize("few_rows", [0, 10_000])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("matches", ASKED, ids=NAMED)
def test_pages_together_are_the_whole_in_its_order(
    data: Path, monkeypatch: pytest.MonkeyPatch, matches: Matches, level: Level, few_rows: int
) -> None:
    monkeypatch.setattr(search, "FEW", few_rows)
    monkeypatch.setattr(reads, "_ROWS_FIRST", 7)
    monkeypatch.setattr(reads, "_ROWS_A_PAGE", 101)
    query = Query("default", level, matches, 1 << 30)
    index = SqlIndex(data)
    whole = list(index.search(query))
    assert in_pages(index, query) == whole
    assert len(whole) >= 150
    assert in_pages(index, replace(query, offset=5, limit=120)) == whole[5:125]


@pytest.mark.parametrize("matches", [(), ((Key.PATIENT_SEX, Equals("M")),)], ids=["everything", "one sex"])
@pytest.mark.parametrize("level", LEVELS)
def test_what_is_stored_while_pages_are_taken_neither_hides_nor_repeats_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: Level, matches: Matches
) -> None:
    monkeypatch.setattr(reads, "_ROWS_FIRST", 5)
    monkeypatch.setattr(reads, "_ROWS_A_PAGE", 5)
    folder.make_ready(tmp_path, ())
    write(tmp_path, rows(0, 40))
    index, query = SqlIndex(tmp_path), Query("default", level, matches, 1 << 30)
    uids = [place(one) for one in index.search(query)]
    seen: list[str] = []
    for number, page in enumerate(index.pages(query)):
        seen += [place(one) for one in page]
        write(tmp_path, rows(40 + number, 41 + number))
    assert seen == uids


def place(found: Found) -> str:
    return (found.instance or found.series or found.study).uid


def steps(connection: sqlite3.Connection, made: Statement) -> int:
    """What a statement costs, in hundreds of steps of SQLite's machine."""
    taken = 0

    def look() -> int:
        nonlocal taken
        taken += 1
        return 0

    connection.set_progress_handler(look, 100)
    try:
        connection.execute(made.sql, made.parameters).fetchall()
    finally:
        connection.set_progress_handler(None, 0)
    return taken


def many(_counting: Statement) -> int:
    return FEW + 1


def nth(connection: sqlite3.Connection, chosen: Way, number: int, size: int) -> Statement:
    """The statement of a page far on."""
    after = None
    for _ in range(number):
        made = chosen.page(size, 0, after)
        after = connection.execute(made.sql, made.parameters).fetchall()[-1][-chosen.places :]
    return chosen.page(size, 0, after)


IN_ORDER = [
    (asked, level)
    for asked in ASKED
    for level in LEVELS
    if not way(Query("default", level, asked, 1), 1, SQLITE, many).drive.sorts
    and not any(isinstance(match, OneOf) for _, match in asked)
]


@pytest.mark.parametrize(("matches", "level"), IN_ORDER, ids=[f"{NAMED[ASKED.index(a)]} {b}" for a, b in IN_ORDER])
def test_a_page_far_on_costs_what_the_second_does(
    connection: sqlite3.Connection, matches: Matches, level: Level
) -> None:
    chosen = way(Query("default", level, matches, 1000), 1, SQLITE, many)
    second, tenth = (steps(connection, nth(connection, chosen, number, 20)) for number in (1, 10))
    # Rows of one value, a month's here, are passed over again within it: an eighth of them a page.
    assert tenth <= 2 * second + 60, chosen.page(20, 0, None)


@pytest.mark.parametrize(("matches", "level"), IN_ORDER, ids=[f"{NAMED[ASKED.index(a)]} {b}" for a, b in IN_ORDER])
def test_no_page_scans_or_sorts(connection: sqlite3.Connection, matches: Matches, level: Level) -> None:
    chosen = way(Query("default", level, matches, 1000), 1, SQLITE, many)
    for made in (chosen.page(20), nth(connection, chosen, 1, 20)):
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {made.sql}", made.parameters)]
        assert [one for one in plan if one.startswith("SCAN") and "VIRTUAL TABLE" not in one] == []
        assert [one for one in plan if "TEMP B-TREE" in one] == []


def few(_counting: Statement) -> int:
    return FEW


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("matches", ASKED, ids=NAMED)
def test_what_leads_to_few_rows_scans_nothing_either(
    connection: sqlite3.Connection, matches: Matches, level: Level
) -> None:
    made = way(Query("default", level, matches, 1000), 1, SQLITE, few).page(20)
    plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {made.sql}", made.parameters)]
    assert [one for one in plan if one.startswith("SCAN") and "VIRTUAL TABLE" not in one] == []


def test_pages_together_may_look_through_no_more_than_one_search(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_STEPS", 20_000)
    # Found at both ends of what there is, so that a page is had before all has been looked through.
    rare = ((Key.SOP_CLASS_UID, Equals(ct(1).sop_class)), (Key.INSTANCE_NUMBER, Wildcard("*nowhere*")))
    with pytest.raises(TooLargeError, match="too broad"):
        in_pages(SqlIndex(data), Query("default", Level.INSTANCE, rare, 100))


def test_between_pages_nothing_is_read(data: Path) -> None:
    index = SqlIndex(data)
    pages = index.pages(Query("default", Level.INSTANCE, (), 1 << 30))
    next(pages)
    other = connect(data / INDEX)
    try:
        # A reader in the middle would keep the log from being begun anew.
        write(data, rows(STUDIES, STUDIES + 1))
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    finally:
        other.close()
        pages.close()  # type: ignore[attr-defined]
