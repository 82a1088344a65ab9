"""ports.index.Index.search: names by their groups, dates with times, patients, relational queries, pages."""

from dataclasses import replace

import pytest

from imagerepo.model.query import (
    Between,
    BetweenMoments,
    Equals,
    Fuzzy,
    Key,
    Level,
    Match,
    OneOf,
    Query,
    Wildcard,
    together,
)
from tests.harness.archive import Archive
from tests.harness.dicom_file import ct, uid
from tests.harness.requests import store

NAMES = (
    "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "YAMADA^HANAKO",
    "Smith-Jones^Mary Ann",
    "Van Dyke^Al",
    "O'Neil^Sean",
    "",
)
PATIENTS = ("P1", "P1", "P2", "P3", "", "")
DATES = ("20240131", "20240131", "20240201", "20240202", "20240131", "")
TIMES = ("0800", "235959.5", "0000", "10", "", "10")


@pytest.fixture
def filled(archive: Archive) -> Archive:
    """Six studies of a series each, the first of two; the fifth and the sixth without a Patient ID."""
    for number, name in enumerate(NAMES):
        attributes = {
            0x00080005: ("CS", "ISO_IR 192"), 0x00100010: ("PN", name), 0x00100020: ("LO", PATIENTS[number]),
            0x00080020: ("DA", DATES[number]), 0x00080030: ("TM", TIMES[number]),
            0x00100021: ("LO", "OTHER" if number == 5 else "HERE"),
        }  # fmt: skip
        archive.commits.commit([store(replace(ct(1, study=number), attributes=attributes))])
    more = {0x00100020: ("LO", "P1"), 0x00100021: ("LO", "HERE"), 0x00080060: ("CS", "MR")}
    more |= {0x0008103E: ("LO", "axial"), 0x00200013: ("IS", "7")}
    archive.commits.commit([store(replace(ct(2, study=0, series=2), attributes=more))])
    return archive


def studies(archive: Archive, *matches: tuple[Key, Match], level: Level = Level.STUDY) -> list[int]:
    found = archive.index.search(Query("default", level, matches, 100))
    return sorted(int(one.study.uid.rpartition(".")[2]) for one in found)


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (Equals("yamada^tarou"), [0]),
        (Equals("山田^太郎"), [0]),
        (Equals("やまだ^たろう"), [0]),
        (Equals("=山田^太郎"), [0]),
        (Equals("==やまだ^たろう"), [0]),
        (Equals("YAMADA^TAROU=山田^太郎"), [0]),
        (Equals("Yamada^Tarou=山田^花子"), []),
        (Equals("yamada^tar"), []),
        (Equals("太郎"), []),
        (Wildcard("YAMADA*"), [0, 1]),
        (Wildcard("*tarou"), [0]),
        (Wildcard("山田*"), [0]),
        (Wildcard("*太郎"), [0]),
        (Wildcard("=山田*"), [0]),
        (Wildcard("*=*"), [0]),
        (Fuzzy("tarou yamada"), [0]),
        (Fuzzy("Yam"), [0, 1]),
        (Fuzzy("Jones^Mary"), [2]),
        (Fuzzy("ann, smith"), [2]),
        (Fuzzy("dyke"), [3]),
        (Fuzzy("neil"), [4]),
        (Fuzzy("ary"), []),
        (Fuzzy("smith dyke"), []),
        (Fuzzy("太郎"), [0]),
        (Fuzzy("?*^="), [0, 1, 2, 3, 4, 5]),
    ],
)
def test_a_name_is_found_by_its_groups_and_words(filled: Archive, match: Match, expected: list[int]) -> None:
    assert studies(filled, (Key.PATIENT_NAME, match)) == expected


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (BetweenMoments("202401310900", "20240201"), [1, 2, 4]),
        (BetweenMoments("20240131", "202402010000"), [0, 1, 2, 4]),
        (BetweenMoments("20240131235959.6", "2024020210"), [2, 3, 4]),
        (BetweenMoments("", "202401310800"), [0, 4]),
        (BetweenMoments("2024020111", ""), [3]),
        (together(Between("20240131", "20240201"), Between("10", "12")), [1, 2, 4]),
        (together(Between("20240131", ""), Between("10", "12")), [1, 2, 3, 4]),
        (together(Between("", "20240201"), Between("10", "")), [0, 1, 2, 4]),
    ],
)
def test_a_date_and_its_time_are_one_moment(filled: Archive, match: Match, expected: list[int]) -> None:
    assert studies(filled, (Key.STUDY_DATE, match)) == expected


def patients(archive: Archive, *matches: tuple[Key, Match]) -> list[tuple[str, str, str, int, int, int]]:
    found = archive.index.search(Query("default", Level.PATIENT, matches, 100))
    rows = [one.patient for one in found if one.patient is not None]
    assert len(rows) == len(found)
    return [
        (row.patient_id, row.issuer_of_patient_id, row.name, row.study_count, row.series_count, row.instance_count)
        for row in rows
    ]


def test_a_patient_comes_once_with_what_it_has(filled: Archive) -> None:
    assert patients(filled) == [
        ("", "OTHER", "", 1, 1, 1),
        ("", "HERE", "O'Neil^Sean", 1, 1, 1),
        ("P3", "HERE", "Van Dyke^Al", 1, 1, 1),
        ("P2", "HERE", "Smith-Jones^Mary Ann", 1, 1, 1),
        ("P1", "HERE", NAMES[0], 2, 3, 3),
    ]


def test_a_patient_is_found_by_any_of_its_names_and_described_by_the_study_that_has_it(filled: Archive) -> None:
    assert patients(filled, (Key.PATIENT_NAME, Equals("yamada^hanako"))) == [("P1", "HERE", "YAMADA^HANAKO", 2, 3, 3)]
    assert [row[2] for row in patients(filled, (Key.PATIENT_NAME, Wildcard("yamada*")))] == [NAMES[0]]


@pytest.mark.parametrize(
    ("level", "matches", "expected"),
    [
        (Level.STUDY, ((Key.SOP_INSTANCE_UID, Equals(uid(0, 2, 2))),), [0]),
        (Level.STUDY, ((Key.SOP_INSTANCE_UID, OneOf((uid(0, 2, 2), uid(0, 1, 1), uid(3, 1, 1)))),), [0, 3]),
        (Level.STUDY, ((Key.SERIES_INSTANCE_UID, OneOf((uid(0, 1), uid(0, 2), uid(4, 1)))),), [0, 4]),
        (Level.PATIENT, ((Key.SERIES_INSTANCE_UID, OneOf((uid(0, 1), uid(1, 1), uid(4, 1)))),), [0, 4]),
        (Level.SERIES, ((Key.SOP_INSTANCE_UID, Equals(uid(0, 2, 2))),), [0]),
        (Level.STUDY, ((Key.SERIES_DESCRIPTION, Equals("AXIAL")),), [0]),
        (Level.STUDY, ((Key.SERIES_DESCRIPTION, Wildcard("*xia*")), (Key.MODALITY, Equals("MR"))), [0]),
        (Level.STUDY, ((Key.SERIES_DESCRIPTION, Wildcard("*xia*")), (Key.MODALITY, Equals("CT"))), []),
        (Level.STUDY, ((Key.MODALITY, Equals("MR")), (Key.INSTANCE_NUMBER, Equals("7"))), [0]),
        (Level.STUDY, ((Key.MODALITY, Equals("CT")), (Key.INSTANCE_NUMBER, Equals("7"))), []),
        (Level.SERIES, ((Key.INSTANCE_NUMBER, Equals("7")),), [0]),
        (Level.PATIENT, ((Key.STUDY_DATE, Equals("20240131")),), [0, 4]),
        (Level.PATIENT, ((Key.MODALITY, Equals("MR")),), [0]),
        (Level.SERIES, ((Key.PATIENT_ID, Equals("P1")),), [0, 0, 1]),
    ],
)
def test_an_attribute_of_another_level_leads_to_what_has_it(
    filled: Archive, level: Level, matches: tuple[tuple[Key, Match], ...], expected: list[int]
) -> None:
    assert studies(filled, *matches, level=level) == expected


@pytest.mark.parametrize("level", list(Level))
def test_pages_have_what_a_search_finds_in_its_order(filled: Archive, level: Level) -> None:
    query = Query("default", level, (), 100)
    whole = list(filled.index.search(query))
    assert [one for page in filled.index.pages(query) for one in page] == whole
    some = replace(query, limit=2, offset=1)
    assert [one for page in filled.index.pages(some) for one in page] == whole[1:3]
    assert list(filled.index.pages(replace(query, institution="nobody"))) == []
    assert list(filled.index.pages(replace(query, limit=0))) == []
