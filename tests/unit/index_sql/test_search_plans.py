"""Every search a protocol can ask is served by an index in its order, or refused before it costs much."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from imagerepo.adapters.index_sql import reader, search
from imagerepo.adapters.index_sql.apply import Applier
from imagerepo.adapters.index_sql.engine import INDEX, connect, transaction
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.index_sql.search import FEW, Statement, way
from imagerepo.adapters.index_sql.sqlite_dialect import SQLITE
from imagerepo.adapters.segments import folder
from imagerepo.errors import TooLargeError
from imagerepo.model.query import Between, Equals, Key, Level, Match, OneOf, Query, Wildcard
from imagerepo.model.uids import Uid
from tests.harness.dicom_file import ct
from tests.unit.index_sql.test_apply import stored

LEVELS = list(Level)
# Without an index of their own: an index over every instance would cost a tenth of what indexing it costs.
BOUNDED = {Key.SOP_CLASS_UID, Key.INSTANCE_NUMBER, Key.SERIES_NUMBER, Key.PERFORMED_STEP_START_TIME}
UIDS = {Key.STUDY_INSTANCE_UID, Key.SERIES_INSTANCE_UID, Key.SOP_INSTANCE_UID}


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    data = tmp_path_factory.mktemp("plans")
    folder.make_ready(data, ())
    opened = connect(data / INDEX)
    yield opened
    opened.close()


def single_values(key: Key) -> list[Match]:
    if key.vr == "DA":
        return [Equals("20240131"), Between("20240101", "20241231"), Between("", "20240101")]
    if key.vr == "TM":
        return [Between("10", "1015")]
    if key.vr in {"UI", "IS"}:
        return [Equals("1")]
    return [Equals("X"), Wildcard("X*")]


CASES = [
    (key, match, level)
    for key in Key
    for match in single_values(key)
    for level in LEVELS[LEVELS.index(key.level) :]
    if key not in BOUNDED and not (key is Key.MODALITIES_IN_STUDY and isinstance(match, Wildcard))
]
ASKED = [f"{key.name}-{type(match).__name__}-{level}" for key, match, level in CASES]


def plan(connection: sqlite3.Connection, made: Statement) -> list[str]:
    return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {made.sql}", made.parameters)]


def statement(query: Query, count: Callable[[Statement], int]) -> Statement:
    return way(query, 1, SQLITE, count).page(query.limit, query.offset)


def many(_counting: Statement) -> int:
    return FEW + 1


def few(_counting: Statement) -> int:
    return FEW


@pytest.mark.parametrize(("key", "match", "level"), CASES, ids=ASKED)
def test_one_value_or_range_drives_by_an_index_and_needs_no_sorting(
    connection: sqlite3.Connection, key: Key, match: Match, level: Level
) -> None:
    made = statement(Query("default", level, ((key, match),), 20), many)
    steps = plan(connection, made)
    assert "study_by_institution" not in made.sql, steps
    assert [step for step in steps if step.startswith("SCAN")] == []
    if key not in UIDS - {Key.SERIES_INSTANCE_UID}:
        assert [step for step in steps if "TEMP B-TREE" in step] == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("key", [Key.PATIENT_NAME, Key.STUDY_DESCRIPTION, Key.ACCESSION_NUMBER, Key.PATIENT_ID])
def test_a_wildcard_within_a_value_goes_by_trigrams_in_order(
    connection: sqlite3.Connection, key: Key, level: Level
) -> None:
    steps = plan(connection, statement(Query("default", level, ((key, Wildcard("*XYZ*")),), 20), many))
    assert "VIRTUAL TABLE" in steps[0]
    assert [step for step in steps if "TEMP B-TREE" in step] == []


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "match", [OneOf(("CT", "MR")), Wildcard("C?")], ids=["several modalities", "modalities by wildcard"]
)
def test_several_modalities_go_by_their_index_where_that_is_short_and_else_newest_first(
    connection: sqlite3.Connection, level: Level, match: Match
) -> None:
    query = Query("default", level, ((Key.MODALITIES_IN_STUDY, match),), 20)
    assert "series_by_modality" in statement(query, few).sql
    assert "study_by_institution" in statement(query, many).sql
    assert [step for step in plan(connection, statement(query, many)) if "TEMP B-TREE" in step] == []


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> SqlIndex:
    """6,000 instances of 2,000 studies: two thirds CT, one MG among them, the rest MR."""
    data = tmp_path_factory.mktemp("filled")
    folder.make_ready(data, ())
    opened = connect(data / INDEX)
    one = stored(ct(1), 1, "somewhere")
    rows = []
    for number in range(6000):
        study = number // 3
        modality = "MG" if study == 900 else ("CT", "CT", "MR")[study % 3]
        attributes = replace(
            one.attributes,
            study_uid=Uid(f"1.2.{study}"), series_uid=Uid(f"1.3.{number}"), instance_uid=Uid(f"1.4.{number}"),
            patient_id=f"P{study // 2}", modality=modality,
            study_date=f"2024{study % 12 + 1:02}01", patient_sex="MF"[study % 2],
        )  # fmt: skip
        rows.append(replace(one, attributes=attributes, commit=number + 1))
    with transaction(opened):
        Applier(opened).add(rows)
    opened.close()
    return SqlIndex(data)


YEAR = (Key.STUDY_DATE, Between("20240101", "20241231"))


def test_the_rarer_of_two_matches_drives(filled: SqlIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "_STEPS", 0)  # looking through a year would be refused
    rare = (Key.MODALITIES_IN_STUDY, Equals("MG"))
    (found,) = filled.search(Query("default", Level.STUDY, (YEAR, rare), 10))
    assert found.study.uid == "1.2.900"


@pytest.mark.parametrize("level", LEVELS)
def test_modalities_in_study_come_once_each_newest_first_and_in_pages(filled: SqlIndex, level: Level) -> None:
    matches = ((Key.MODALITIES_IN_STUDY, Equals("MR")),)
    whole = filled.search(Query("default", level, matches, 3000))
    studies = [int(one.study.uid.rpartition(".")[2]) for one in whole]
    assert studies == sorted(studies, reverse=True)
    assert len(whole) == len({repr(one) for one in whole}) == (1998 if level.depth > Level.STUDY.depth else 666)
    pages = [filled.search(Query("default", level, matches, 100, start)) for start in range(0, 3000, 100)]
    assert [one for page in pages for one in page] == list(whole)


@pytest.mark.parametrize("few_rows", [0, 10_000])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "matches",
    [
        (YEAR, (Key.MODALITIES_IN_STUDY, Equals("MR"))),
        ((Key.STUDY_DATE, Equals("20240301")), (Key.PATIENT_SEX, Equals("M"))),
        (YEAR, (Key.PATIENT_NAME, Wildcard("*DOE*")), (Key.PATIENT_SEX, Wildcard("M*"))),
        ((Key.MODALITIES_IN_STUDY, OneOf(("MG", "MR"))), (Key.PATIENT_SEX, Equals("F"))),
    ],
)
def test_all_ways_lead_to_the_same_entities(
    filled: SqlIndex, monkeypatch: pytest.MonkeyPatch, matches, level: Level, few_rows: int
) -> None:
    def uids() -> list[str]:
        found = filled.search(Query("default", level, matches, 6000))
        deepest = [one.instance or one.series or one.study for one in found]
        return sorted(one.uid for one in deepest)

    usual = uids()
    monkeypatch.setattr(search, "FEW", few_rows)
    assert uids() == usual
    assert len(usual) > 100


def test_looking_through_too_much_is_refused_and_the_next_search_is_not_hurt(
    filled: SqlIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = ((Key.SOP_CLASS_UID, Equals("9.9")),)
    assert filled.search(Query("default", Level.INSTANCE, nowhere, 10)) == []
    monkeypatch.setattr(reader, "_STEPS", 10_000)
    for _ in range(3):
        with pytest.raises(TooLargeError, match="too broad"):
            filled.search(Query("default", Level.INSTANCE, nowhere, 10))
        everywhere = ((Key.SOP_CLASS_UID, Equals(ct(1).sop_class)),)
        assert len(filled.search(Query("default", Level.INSTANCE, everywhere, 10))) == 10
        within = (*nowhere, (Key.STUDY_INSTANCE_UID, Equals("1.2.7")))
        assert filled.search(Query("default", Level.INSTANCE, within, 10)) == []


def test_pages_far_on_are_answered_though_much_is_passed_over(
    filled: SqlIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "_STEPS", 0)
    assert len(filled.search(Query("default", Level.INSTANCE, (), 10, 5990))) == 10
