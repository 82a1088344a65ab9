"""Newest first is by commit, so that an index made anew answers in the same order as the one it replaces."""

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from imagerepo.adapters.index_sql.apply import Applier, Stored
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.model.query import Between, Equals, Found, Key, Level, Query, Wildcard
from imagerepo.model.scope import Scope
from imagerepo.model.uids import Uid
from tests.harness.archive import in_segments
from tests.harness.dicom_file import DicomFile, ct, uid
from tests.harness.requests import store
from tests.unit.index_sql.test_apply import apply, stored

ASKED = [
    (),
    ((Key.PATIENT_NAME, Wildcard("*DOE*")),),
    ((Key.PATIENT_ID, Equals("P1")),),
    ((Key.MODALITIES_IN_STUDY, Equals("CT")),),
    ((Key.STUDY_DATE, Between("20240101", "20241231")),),
]


def commits(seed: int) -> list[list[Stored]]:
    """Commits of two writers into the same few studies and series, in order of their numbers."""
    rng = random.Random(seed)
    made: list[list[Stored]] = []
    for number in range(1, 41):
        files = [ct(100 * number + one, study=rng.randrange(5), series=rng.randrange(2)) for one in range(3)]
        made.append(
            [replace(stored(file, number, f"segment-{number % 2}"), place=place) for place, file in enumerate(files)]
        )
    return made


def overlapped(made: Sequence[list[Stored]], seed: int) -> list[list[Stored]]:
    """As two writers may write rows: each its own commits in order, one ahead of the other now and then."""
    rng = random.Random(seed)
    waiting = [list(made[0::2]), list(made[1::2])]
    order = []
    while any(waiting):
        order.append(rng.choice([one for one in waiting if one]).pop(0))
    return order


def test_a_study_is_described_by_its_first_instance_not_by_another_of_its_commit(tmp_path: Path) -> None:
    def file(number: int, name: str) -> DicomFile:
        return DicomFile(uid(1), uid(1, 1), uid(1, 1, number), bytes(64), {0x00100010: ("PN", name)})

    def names(data: Path) -> list[str]:
        with in_segments(data) as archive:
            return [found.study.patient_name for found in archive.index.search(Query("default", Level.STUDY, (), 10))]

    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(file(1, "DOE")), store(file(2, "DOE"))])
        archive.commits.commit([store(file(2, "ROE"))])
    assert names(tmp_path) == ["DOE"]
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(file(1, "POE"))])
    assert names(tmp_path) == ["POE"]


def test_a_corrected_modality_is_found_and_the_old_one_is_not(tmp_path: Path) -> None:
    def file(modality: str) -> DicomFile:
        return DicomFile(uid(1), uid(1, 1), uid(1, 1, 1), bytes(64), {0x00080060: ("CS", modality)})

    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(file("CT"))])
        archive.commits.commit([store(file("MR"))])
        (found,) = archive.index.search(Query("default", Level.STUDY, (), 10))
        assert found.study.modalities == ("MR",)


def index(data: Path, batches: list[list[Stored]]) -> SqlIndex:
    return apply(data, *batches, write=Applier.add)


def answers(found: SqlIndex) -> list[Sequence[Found]]:
    return [found.search(Query("default", level, matches, 1000)) for level in Level for matches in ASKED]


@pytest.mark.parametrize("seed", range(8))
def test_rows_written_in_any_order_are_answered_in_order_of_commit(tmp_path: Path, seed: int) -> None:
    made = commits(seed)
    (tmp_path / "live").mkdir()
    (tmp_path / "anew").mkdir()
    live = index(tmp_path / "live", overlapped(made, seed))
    anew = index(tmp_path / "anew", made)
    assert answers(live) == answers(anew)
    for study in {one.attributes.study_uid for batch in made for one in batch}:
        pages = [list(one.versions(Scope("default", Uid(study)), 0, 1000)) for one in (live, anew)]
        assert pages[0] == pages[1]
    assert live.holdings() == anew.holdings()


@pytest.mark.parametrize("seed", range(4))
def test_a_series_is_found_by_what_is_within_its_description_wherever_its_row_has_moved(
    tmp_path: Path, seed: int
) -> None:
    made = [
        [
            replace(one, attributes=replace(one.attributes, series_description=one.attributes.series_uid))
            for one in batch
        ]
        for batch in commits(seed)
    ]
    live = index(tmp_path, overlapped(made, seed))
    series = {found.series.uid for found in live.search(Query("default", Level.SERIES, (), 1000)) if found.series}
    for one in series:
        asked = ((Key.SERIES_DESCRIPTION, Wildcard(f"*{one[5:]}")),)
        found = live.search(Query("default", Level.SERIES, asked, 1000))
        assert [two.series.uid for two in found if two.series] == [one]
        assert len(live.search(Query("default", Level.STUDY, asked, 1000))) == 1
    assert len(series) == 10


def test_the_study_that_came_first_is_answered_last(tmp_path: Path) -> None:
    first, later = (replace(stored(ct(one, study=one), one, "one"), place=0) for one in (1, 2))
    found = index(tmp_path, [[later], [first]]).search(Query("default", Level.STUDY, (), 10))
    assert [one.study.uid for one in found] == [later.attributes.study_uid, first.attributes.study_uid]
