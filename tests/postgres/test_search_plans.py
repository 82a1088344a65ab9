"""Among 200,000 instances every search goes by the index that is meant, whether rows have been counted or not."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from imagerepo.adapters.index_sql import drives, reads
from imagerepo.adapters.index_sql.search import FEW, MANY, Statement, Way, way
from imagerepo.adapters.postgres import index
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.dialect import Postgres
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.errors import TooLargeError
from imagerepo.model.query import Between, Equals, Fuzzy, Key, Level, Match, OneOf, Query, Wildcard
from tests.harness.databases import opened, with_schema
from tests.harness.index_rows import make_rows
from tests.unit.index_sql.test_search_plans import ASKED, CASES, UIDS

DIALECT = Postgres(has_trigrams=True)
LARGE, SMALL = 1, 2  # institutions
LEVELS = list(Level)
INDEXES: Mapping[Key, str] = drives._STUDIES | drives._SERIES | {Key.MODALITIES_IN_STUDY: "series_by_modality"}
Plan = list[dict[str, Any]]


@pytest.fixture(scope="module")
def database() -> Iterator[Database]:
    """A large institution, then what another one has stored since; rows that nobody counts by himself."""
    with with_schema() as url, opened(url) as made:
        with made.reading() as connection:
            for table in ("institution", "study", "series", "instance", "version", "copy", "object", "range"):
                connection.run(f'ALTER TABLE "{table}" SET (autovacuum_enabled = off)')
        make_rows(made, LARGE, "large", range(1900))
        make_rows(made, SMALL, "small", range(1900, 2000))
        yield made


@pytest.fixture(scope="module", params=["not counted", "counted"])
def counted(request: pytest.FixtureRequest, database: Database) -> Database:
    if request.param == "counted":
        with database.reading() as connection:
            connection.execute("ANALYZE")
    return database


def explained(database: Database, made: Statement, how: str = "FORMAT JSON") -> Plan:
    """The steps of a statement's plan, the outermost first."""
    with database.reading() as connection:
        ((found,),) = connection.run(f"EXPLAIN ({how}) {made.sql}", made.parameters).fetchall()
    return list(_steps(found[0]["Plan"]))


def _steps(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for one in node.get("Plans", ()):
        yield from _steps(one)


def chosen(level: Level, matches: Sequence[tuple[Key, Match]], rows: int, institution: int = LARGE) -> Way:
    return way(Query("large", level, tuple(matches), 20), institution, DIALECT, lambda _: rows)


def require_an_index_for_each_step(plan: Plan) -> None:
    assert [step for step in plan if step["Node Type"] in {"Seq Scan", "Sort", "Hash Join", "Merge Join"}] == []
    unbounded = [one for one in plan if "Index Name" in one and not one.get("Index Cond")]
    assert unbounded == []


def leading(plan: Plan) -> str:
    """The index from which rows come."""
    (step,) = [one for one in plan if one.get("Scan Direction") == "Backward"]
    return step["Index Name"]


@pytest.mark.parametrize(("key", "match", "level"), CASES, ids=ASKED)
def test_one_value_or_range_goes_by_its_index_in_order(
    counted: Database, key: Key, match: Match, level: Level
) -> None:
    plan = explained(counted, chosen(level, ((key, match),), FEW + 1).page(20))
    require_an_index_for_each_step(plan)
    if key not in UIDS:
        assert leading(plan) == INDEXES[key]


@pytest.mark.parametrize("institution", [LARGE, SMALL])
@pytest.mark.parametrize("level", LEVELS)
def test_all_of_an_institution_comes_newest_first_without_looking_at_others(
    counted: Database, level: Level, institution: int
) -> None:
    pages = chosen(level, (), FEW + 1, institution)
    for after in (None, (institution, 150_001, 150_001, 150_001)[: pages.places]):
        plan = explained(counted, pages.page(20, 0, after))
        require_an_index_for_each_step(plan)
        assert leading(plan) == "study_by_institution"


TEXTS = [Key.PATIENT_NAME, Key.STUDY_DESCRIPTION, Key.ACCESSION_NUMBER, Key.PATIENT_ID, Key.SERIES_DESCRIPTION]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("key", TEXTS)
def test_a_wildcard_within_a_value_goes_by_trigrams_where_they_lead_to_few(
    counted: Database, key: Key, level: Level
) -> None:
    plan = explained(counted, chosen(level, ((key, Wildcard("*1234*")),), MANY).page(20))
    require_an_index_for_each_step(plan)
    trigrams = "series_trigrams" if key.level is Level.SERIES else "study_trigrams"
    assert next(one["Index Name"] for one in plan if one["Node Type"] == "Bitmap Index Scan") == trigrams
    assert len([one for one in plan if one.get("Index Name") == trigrams]) == 1
    holder = "series" if key.level is Level.SERIES and level.depth >= key.level.depth else "study"
    assert leading(plan) == f"{holder}_pkey"


@pytest.mark.parametrize(
    ("text", "index"),
    {"*rossi*": "study_by_institution", "*0000123*": "study_pkey", "*ovak0000*": "study_pkey"}.items(),
    ids=["many of the newest", "a single one", "many of the oldest"],
)
def test_trigrams_lead_unless_many_of_the_newest_match(counted: Database, text: str, index: str) -> None:
    def count(counting: Statement) -> int:
        with counted.reading() as connection:
            ((found,),) = connection.run(counting.sql, counting.parameters).fetchall()
        return found

    query = Query("large", Level.STUDY, ((Key.PATIENT_NAME, Wildcard(text)),), 20)
    plan = explained(counted, way(query, LARGE, DIALECT, count).page(20))
    require_an_index_for_each_step(plan)
    assert leading(plan) == index


@pytest.mark.parametrize("key", TEXTS)
def test_a_wildcard_of_which_trigrams_lead_to_many_looks_at_the_newest(counted: Database, key: Key) -> None:
    plan = explained(counted, chosen(Level.STUDY, ((key, Wildcard("*123*")),), 10 * FEW + 1).page(20))
    require_an_index_for_each_step(plan)
    assert leading(plan) == "study_by_institution"


SEVERAL = [
    ((Key.MODALITIES_IN_STUDY, OneOf(("CT", "MR"))),),
    ((Key.MODALITY, OneOf(("CT", "MR"))),),
    ((Key.PERFORMED_STEP_START_DATE, Between("20100101", "20100131")),),
    ((Key.STUDY_INSTANCE_UID, OneOf(tuple(f"1.2.{number}" for number in range(0, 900, 3)))),),
    ((Key.SERIES_INSTANCE_UID, OneOf(tuple(f"1.2.{number}.1" for number in range(0, 900, 3)))),),
    ((Key.SOP_INSTANCE_UID, OneOf(tuple(f"1.2.{number}.1.7" for number in range(0, 900, 3)))),),
    ((Key.PATIENT_NAME, Fuzzy("rossi")), (Key.STUDY_DATE, Between("20100101", "20101231"))),
    ((Key.INSTANCE_NUMBER, Equals("7")), (Key.PATIENT_ID, Equals("PID7"))),
    ((Key.SERIES_NUMBER, Equals("1")), (Key.SOP_CLASS_UID, Equals("1.2")), (Key.PATIENT_SEX, Equals("M"))),
]
SEVERAL_NAMED = [" ".join(f"{key.name} {type(match).__name__}" for key, match in one) for one in SEVERAL]


@pytest.mark.parametrize("rows", [MANY, 10 * FEW + 1], ids=["few", "many"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("matches", SEVERAL, ids=SEVERAL_NAMED)
def test_several_values_and_matches_go_by_indexes_too(
    counted: Database, matches: Sequence[tuple[Key, Match]], level: Level, rows: int
) -> None:
    require_an_index_for_each_step(explained(counted, chosen(level, matches, rows).page(20)))


FAR = [
    (),
    ((Key.STUDY_DATE, Between("20050101", "20191231")),),
    ((Key.PATIENT_SEX, Equals("M")),),
    ((Key.PATIENT_NAME, Wildcard("ros*")),),
    ((Key.PATIENT_NAME, Wildcard("*rossi*")),),
    ((Key.SERIES_DESCRIPTION, Wildcard("*PID*")),),
    ((Key.MODALITIES_IN_STUDY, Equals("CT")),),
    ((Key.MODALITY, Equals("CT")),),
]
FAR_NAMED = [" ".join(f"{key.name} {type(match).__name__}" for key, match in one) or "everything" for one in FAR]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("matches", FAR, ids=FAR_NAMED)
def test_a_page_far_on_reads_what_the_second_does(
    counted: Database, matches: Sequence[tuple[Key, Match]], level: Level
) -> None:
    pages = chosen(level, matches, MANY)
    second, tenth = (_blocks(counted, _nth(counted, pages, number)) for number in (1, 10))
    # Studies are sorted below by themselves: where a page lies in one it is read again.
    assert tenth <= 2 * second + 100


def _nth(database: Database, pages: Way, number: int) -> Statement:
    after = None
    for _ in range(number):
        made = pages.page(20, 0, after)
        with database.reading() as connection:
            after = connection.run(made.sql, made.parameters).fetchall()[-1][-pages.places :]
    return pages.page(20, 0, after)


def _blocks(database: Database, made: Statement) -> int:
    top = explained(database, made, "ANALYZE, BUFFERS, FORMAT JSON")[0]
    return top["Shared Hit Blocks"] + top["Shared Read Blocks"]


def test_all_instances_of_named_studies_come_from_one_index_a_page_at_a_time(counted: Database) -> None:
    named = (Key.STUDY_INSTANCE_UID, OneOf(("1.2.5", "1.2.6", "1.2.7")))
    pages = chosen(Level.INSTANCE, (named,), MANY)
    plan = explained(counted, pages.page(20))
    require_an_index_for_each_step(plan)
    assert leading(plan) == "instance_by_series"
    assert [one for one in plan if "Sort" in one["Node Type"]] == []
    second, tenth = (_blocks(counted, _nth(counted, pages, number)) for number in (1, 10))
    assert tenth <= second + 50


NAMES = {
    "an instance": (reads._ONE, (None, LARGE, "1.2.1000.0.7"), 40),
    "a study": (
        reads._PAGE.format(within=reads._IN_STUDY, order="i.series_id + 0"),
        (100_001, 100_001, 100_010, 50),
        1250,
    ),
    "a series": (
        reads._PAGE.format(within=reads._IN_SERIES, order="i.series_id + 0"),
        (100_001, 100_001, 100_010, 50),
        1250,
    ),
    "arrivals": (reads._ARRIVALS.format(order="i.id + 0"), (100_000, 50), 1250),
}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_named_is_found_by_indexes_and_little_is_read(counted: Database, name: str) -> None:
    sql, parameters, most = NAMES[name]
    made = Statement(DIALECT.statement(sql), parameters)
    plan = explained(counted, made, "ANALYZE, BUFFERS, FORMAT JSON")
    assert [step for step in plan if step["Node Type"] == "Seq Scan"] == []
    assert plan[0]["Actual Rows"] in {1, 40, 50}
    assert plan[0]["Shared Hit Blocks"] + plan[0]["Shared Read Blocks"] <= most


def test_looking_through_too_much_is_refused_and_the_next_search_is_not_hurt(
    counted: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = PostgresIndex(counted)
    nowhere = ((Key.SOP_CLASS_UID, Equals("9.9")),)
    for _ in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(index, "_SECONDS", 0.02)
            with pytest.raises(TooLargeError, match="too broad"):
                searched.search(Query("large", Level.INSTANCE, nowhere, 10))
            with pytest.raises(TooLargeError, match="too broad"):
                next(iter(searched.pages(Query("large", Level.INSTANCE, nowhere, 10))))
        everywhere = ((Key.SOP_CLASS_UID, Equals("1.2.840.10008.5.1.4.1.1.2")),)
        assert len(searched.search(Query("large", Level.INSTANCE, everywhere, 10))) == 10
        within = (*nowhere, (Key.STUDY_INSTANCE_UID, Equals("1.2.7")))
        assert searched.search(Query("large", Level.INSTANCE, within, 10)) == []
