"""Search by stored headers, over the adapters in memory."""

from dataclasses import replace

import pytest

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.errors import SettingsError, TooLargeError
from imagerepo.flows.repository import Repository
from imagerepo.flows.search import USUAL, OptionalKeys
from imagerepo.model.query import Equals, Found, Key, Level, Match, Path, Query
from imagerepo.settings import Settings
from imagerepo.settings_search import Searching
from tests.harness.dicom_file import ct, uid
from tests.harness.in_memory import assemble
from tests.harness.requests import store

STATION: Path = ("00081010",)
STUDIES = 120
MOST = 60


@pytest.fixture(scope="module")
def repository() -> Repository:
    """Studies of stations A, B and C in turn."""
    memory = Memory()
    commits = MemoryCommits(memory)
    made = assemble(Settings(search=Searching(most_headers=MOST)), memory, commits)
    for number in range(STUDIES):
        attributes = {0x00081010: ("SH", "ABC"[number % 3]), 0x00100010: ("PN", f"N{number % 2}^X")}
        commits.commit([store(replace(ct(1, study=number), attributes=attributes))])
    return made


def query(limit: int, *optional: tuple[Path, Match], offset: int = 0, level: Level = Level.STUDY) -> Query:
    return Query("default", level, (), limit, offset, optional)


def numbers(found: list[Found]) -> list[int]:
    return [int(one.study.uid.rpartition(".")[2]) for one in found]


def pages(repository: Repository, asked: Query) -> list[Found]:
    return [one for page in repository.search.pages(asked) for one in page]


@pytest.mark.parametrize("level", list(Level))
def test_what_headers_say_is_matched_and_paged(repository: Repository, level: Level) -> None:
    patients_first = 3 if level is Level.PATIENT else STUDIES  # one patient: its first study is answered
    station = {Level.PATIENT: "A"}.get(level, "B")
    asked = query(10, (STATION, Equals(station)), level=level)
    expected = [number for number in range(STUDIES - 1, -1, -1) if "ABC"[number % 3] == station][:10]
    found = pages(repository, asked)
    assert numbers(found) == ([0] if patients_first == 3 else expected)
    assert list(repository.search.search(asked)) == found
    assert all(one.header is None for one in found)


def test_limit_and_offset_count_what_matches(repository: Repository) -> None:
    whole = pages(repository, query(12, (STATION, Equals("C"))))
    assert len(whole) == 12
    assert pages(repository, query(4, (STATION, Equals("C")), offset=5)) == whole[5:9]


def test_no_more_headers_are_read_than_the_setting_says(repository: Repository) -> None:
    assert len(pages(repository, query(20, (STATION, Equals("A"))))) == 20
    with pytest.raises(TooLargeError, match="60 stored headers"):
        pages(repository, query(21, (STATION, Equals("A"))))
    narrowed = replace(query(100, (STATION, Equals("A"))), matches=((Key.PATIENT_NAME, Equals("N1^X")),))
    assert len(pages(repository, narrowed)) == STUDIES // 6


def test_pages_in_which_nothing_matches_come_too(repository: Repository) -> None:
    got: list[int] = []
    with pytest.raises(TooLargeError):
        got.extend(len(page) for page in repository.search.pages(query(10, (STATION, Equals("none")))))
    assert got
    assert not any(got)
    narrowed = replace(query(10, (STATION, Equals("none"))), matches=((Key.PATIENT_NAME, Equals("N1^X")),))
    assert repository.search.search(narrowed) == []


def test_headers_come_with_what_is_found(repository: Repository) -> None:
    found = pages(repository, replace(query(STUDIES), with_header=True))
    assert len(found) == STUDIES
    for one in found:
        assert one.header is not None
        assert one.header["0020000D"].values == (one.study.uid,)


def test_a_patient_comes_with_its_first_study_s_header(repository: Repository) -> None:
    (one,) = pages(repository, replace(query(5, level=Level.PATIENT), with_header=True))
    assert one.header is not None
    assert one.header["0020000D"].values == (uid(0),)


def test_a_sequence_allows_what_is_in_it() -> None:
    keys = OptionalKeys.of(["SliceThickness", "00081140.ReferencedSOPInstanceUID"], 1)
    for path in [("00180050",), ("00081140", "00081155"), ("00400275",), ("00400275", "00401001")]:
        assert path in keys
    for path in [("00180051",), ("00081140",), ("00081140", "00081150")]:
        assert path not in keys
    assert len(keys.paths) == len(USUAL) + 2


@pytest.mark.parametrize("name", ["NoSuchKeyword", "RequestAttributesSequence.NoSuchKeyword", "99990010"])
def test_an_unknown_key_in_settings_is_named(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"search\.optional_keys: '{name}'"):
        OptionalKeys.of([name], 1)
