"""ports.index.Index.search: matching as PS3.4 C.2.2.2 has it, and pages."""

from dataclasses import replace

import pytest

from imagerepo.model.query import Between, Equals, Key, Level, Match, OneOf, Query, Wildcard
from tests.harness.archive import Archive
from tests.harness.dicom_file import DicomFile, ct, uid
from tests.harness.requests import store

NAMES = ("DOE^JANE", "Doe^John^^", "MÜLLER^HANS", "50%^[A]_x", 'O"NEIL^*', "STRASSE^ß", "山田^太郎")
DATES = ("20230101", "20240131", "20240201", "", "20240131", "20221231", "19991231")
PATIENTS = ("P-000", "P-001", "P-002", "P-003", "P-004", "P-005", "ß-006")
TIMES = ("10", "1015", "101500.123", "", "2359", "0000", "101459")


def archived(archive: Archive, number: int) -> DicomFile:
    attributes = {
        0x00100010: ("PN", NAMES[number]), 0x00100020: ("LO", PATIENTS[number]), 0x00080020: ("DA", DATES[number]),
        0x00080030: ("TM", TIMES[number]), 0x00080050: ("SH", f"ACC_{number % 3}"), 0x00080005: ("CS", "ISO_IR 192"),
        0x00081030: ("LO", f"Thorax [{number}] 100%"), 0x00080060: ("CS", ("CT", "MR", "CR")[number % 3]),
    }  # fmt: skip
    file = replace(ct(1, study=number), attributes=attributes)
    archive.commits.commit([store(file)])
    return file


@pytest.fixture
def filled(archive: Archive) -> Archive:
    for number in range(len(NAMES)):
        archived(archive, number)
    archive.commits.commit([store(replace(ct(2, study=0, series=2), attributes={0x00080060: ("CS", "SR")}))])
    return archive


def studies(archive: Archive, *matches: tuple[Key, Match], level: Level = Level.STUDY) -> list[int]:
    found = archive.index.search(Query("default", level, matches, 100))
    return sorted(int(one.study.uid.rpartition(".")[2]) for one in found)


@pytest.mark.parametrize(
    ("key", "match", "expected"),
    [
        (Key.PATIENT_NAME, Equals("doe^jane"), [0]),
        (Key.PATIENT_NAME, Equals("DOE^JOHN"), [1]),
        (Key.PATIENT_NAME, Equals("müller^hans"), [2]),
        (Key.PATIENT_NAME, Wildcard("doe*"), [0, 1]),
        (Key.PATIENT_NAME, Wildcard("*^JO*"), [1]),
        (Key.PATIENT_NAME, Wildcard("*OHN*"), [1]),
        (Key.PATIENT_NAME, Wildcard("D?E^*"), [0, 1]),
        (Key.PATIENT_NAME, Wildcard("*[A]*"), [3]),
        (Key.PATIENT_NAME, Wildcard("*[a-z]*"), []),
        (Key.PATIENT_NAME, Wildcard("50%*"), [3]),
        (Key.PATIENT_NAME, Wildcard("%"), []),
        (Key.PATIENT_NAME, Wildcard("*_x"), [3]),
        (Key.PATIENT_NAME, Wildcard('*"neil*'), [4]),
        (Key.PATIENT_NAME, Wildcard("*"), [0, 1, 2, 3, 4, 5, 6]),
        (Key.PATIENT_NAME, Wildcard("*太*"), [6]),
        (Key.PATIENT_NAME, Wildcard("strasse^*"), [5]),
        (Key.PATIENT_NAME, Wildcard("*üll*"), [2]),
        (Key.PATIENT_ID, Equals("P-003"), [3]),
        (Key.PATIENT_ID, Equals("p-003"), []),
        (Key.PATIENT_ID, Wildcard("P-00?"), [0, 1, 2, 3, 4, 5]),
        (Key.PATIENT_ID, Wildcard("*-003"), [3]),
        (Key.PATIENT_ID, Wildcard("*p-003*"), []),
        (Key.PATIENT_ID, Wildcard("*ß-006*"), [6]),
        (Key.STUDY_DESCRIPTION, Wildcard("*[[]3*"), []),
        (Key.STUDY_DESCRIPTION, Wildcard("THORAX [3] 100%"), [3]),
        (Key.STUDY_DESCRIPTION, Wildcard("*orax [4]*"), [4]),
        (Key.STUDY_DESCRIPTION, Equals("THORAX [2] 100%"), [2]),
        (Key.ACCESSION_NUMBER, Equals("ACC_1"), [1, 4]),
        (Key.ACCESSION_NUMBER, Wildcard("*CC_2"), [2, 5]),
        (Key.STUDY_DATE, Equals("20240131"), [1, 4]),
        (Key.STUDY_DATE, Between("20230101", "20240131"), [0, 1, 4]),
        (Key.STUDY_DATE, Between("", "20230101"), [0, 5, 6]),
        (Key.STUDY_DATE, Between("20240131", ""), [1, 2, 4]),
        (Key.STUDY_TIME, Between("10", "1015"), [0, 1, 2, 6]),
        (Key.STUDY_TIME, Between("2300", ""), [4]),
        (Key.STUDY_INSTANCE_UID, OneOf((uid(2), uid(5), uid(77))), [2, 5]),
        (Key.STUDY_INSTANCE_UID, Equals(uid(2)), [2]),
        (Key.MODALITIES_IN_STUDY, Equals("MR"), [1, 4]),
        (Key.MODALITIES_IN_STUDY, Equals("SR"), [0]),
        (Key.MODALITIES_IN_STUDY, Wildcard("C?"), [0, 2, 3, 5, 6]),
        (Key.MODALITIES_IN_STUDY, OneOf(("SR", "MR")), [0, 1, 4]),
        (Key.MODALITIES_IN_STUDY, Wildcard("C*R"), [2, 5]),
        (Key.MODALITIES_IN_STUDY, Equals("M"), []),
        (Key.PATIENT_BIRTH_DATE, Equals("19700101"), []),
    ],
)  # fmt: skip
def test_a_match_finds_these_studies(filled: Archive, key: Key, match: Match, expected: list[int]) -> None:
    assert studies(filled, (key, match)) == expected


def test_all_matches_have_to_hold(filled: Archive) -> None:
    dates, name = (Key.STUDY_DATE, Between("20230101", "20240201")), (Key.PATIENT_NAME, Wildcard("*^j*"))
    assert studies(filled, dates, name) == [0, 1]
    assert studies(filled, name, (Key.ACCESSION_NUMBER, Equals("ACC_1")), dates) == [1]
    assert studies(filled, name, (Key.PATIENT_ID, Equals("P-006"))) == []


def test_series_and_instances_are_found_with_their_ancestors(filled: Archive) -> None:
    (series,) = filled.index.search(Query("default", Level.SERIES, ((Key.MODALITY, Equals("SR")),), 10))
    assert (series.study.uid, series.series.uid) == (uid(0), uid(0, 2))  # type: ignore[union-attr]
    wanted = ((Key.STUDY_INSTANCE_UID, Equals(uid(0))), (Key.SOP_INSTANCE_UID, Equals(uid(0, 2, 2))))
    (instance,) = filled.index.search(Query("default", Level.INSTANCE, wanted, 10))
    assert instance.instance is not None
    assert instance.instance.uid == uid(0, 2, 2)
    assert studies(filled, (Key.PATIENT_NAME, Wildcard("doe*")), level=Level.INSTANCE) == [0, 0, 1]


@pytest.mark.parametrize("level", list(Level))
@pytest.mark.parametrize("limit", [1, 2, 3])
@pytest.mark.parametrize(
    "matches",
    [
        (),
        ((Key.PATIENT_NAME, Wildcard("*^*")),),
        ((Key.STUDY_DATE, Between("", "20240201")),),
        ((Key.PATIENT_ID, Wildcard("P-*")),),
        ((Key.PATIENT_NAME, Wildcard("*OHN*")),),
    ],
)
def test_pages_lose_nothing_and_repeat_nothing(filled: Archive, level: Level, limit: int, matches) -> None:
    whole = list(filled.index.search(Query("default", level, matches, 100)))
    paged = []
    while page := filled.index.search(Query("default", level, matches, limit, len(paged))):
        assert len(page) <= limit
        paged += page
    assert paged == whole
    assert len({repr(one) for one in whole}) == len(whole) > 0
