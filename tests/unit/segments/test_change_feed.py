"""What changed, told of a data folder: in order of commit, whatever becomes visible when."""

from contextlib import closing
from pathlib import Path

import pytest

from imagerepo.adapters.index_sql.engine import INDEX
from imagerepo.adapters.segments import change_feed
from imagerepo.adapters.segments.change_feed import SegmentChangeFeed
from imagerepo.adapters.segments.numbers import Numbers
from imagerepo.errors import ForgottenError
from imagerepo.ports.feed import Mark, Marks
from imagerepo.settings import Storage
from tests.harness.archive import in_segments
from tests.harness.dicom_file import ct, uid
from tests.harness.requests import journal, store

SMALL = Storage(reserve=0, segment_size=1 << 20)
STATE = Path("run/numbers")


def told(folder: Path, marks: Marks) -> tuple[list[str | None], Marks]:
    """SOP Instance UIDs after `marks`."""
    found: list[str | None] = []
    more = True
    with closing(SegmentChangeFeed(folder, folder / STATE)) as feed:
        while more:
            page = feed.since("default", marks, 50)
            found += [one.instance_uid for one in page.changes]
            marks, more = page.marks, page.more
    return found, marks


def test_what_has_a_higher_number_waits_for_what_is_in_flight(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        archive.commits.commit([store(ct(1))])
        _, marks = told(tmp_path, {})
        with Numbers(tmp_path / STATE, 1) as numbers:
            with numbers.locked():
                numbers.next_commit()
            archive.commits.commit([store(ct(2))])
            assert told(tmp_path, marks)[0] == []
            with numbers.locked():
                numbers.land()
        assert told(tmp_path, marks)[0] == [uid(1, 1, 2)]


def test_marks_hold_over_starts_and_an_index_made_anew(tmp_path: Path) -> None:
    seen: list[str | None] = []
    marks: Marks = {}
    for start in range(3):
        with in_segments(tmp_path, SMALL) as archive:
            for number in range(4):
                writer = (archive.commits, archive.other)[number % 2]
                writer.commit([store(ct(start * 4 + number, size=300 << 10))])
                if number % 3 == 1:
                    found, marks = told(tmp_path, marks)
                    seen += found
        for path in tmp_path.glob(f"{INDEX}*"):
            path.unlink()
    with in_segments(tmp_path, SMALL):
        seen += told(tmp_path, marks)[0]
        assert seen == told(tmp_path, {})[0] == [uid(1, 1, number) for number in range(12)]


def test_what_concerns_nobody_is_passed_over_and_a_page_ends_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "MOST_COMMITS", 20)
    with in_segments(tmp_path, SMALL) as archive:
        for number in range(30):
            archive.commits.commit([journal(query=str(number))])
        archive.commits.commit([store(ct(1))])
        page = archive.changes.since("default", {}, 50)
        assert (page.changes, page.more) == ([], True)
        assert told(tmp_path, page.marks)[0] == [uid(1, 1, 1)]


@pytest.mark.parametrize(
    "mark", [Mark("one-00000001.seg", 99), Mark("one-00000001.seg", 1 << 40), Mark("one-00000009.seg", 0),
             Mark("two-00000001.seg", 0), Mark("../index.sqlite", 0)],
)  # fmt: skip
def test_marks_that_were_made_up_are_refused(tmp_path: Path, mark: Mark) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        archive.commits.commit([store(ct(1))])
        archive.other.commit([store(ct(2))])
        with pytest.raises(ForgottenError):
            told(tmp_path, {"one": mark})


def test_what_was_told_in_the_middle_of_a_commit_goes_on_there_after_a_start(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        archive.commits.commit([store(ct(number)) for number in range(60)])
        first, marks = [], {}
        page = archive.changes.since("default", marks, 50)
        first, marks = [one.instance_uid for one in page.changes], page.marks
    with in_segments(tmp_path, SMALL):
        assert first + told(tmp_path, marks)[0] == [uid(1, 1, number) for number in range(60)]
