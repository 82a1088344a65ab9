"""Following commits: every one, once, whatever order they become visible in."""

from pathlib import Path

from imagerepo.adapters.index_sql.engine import INDEX
from imagerepo.adapters.segments.feed import SegmentFeed
from imagerepo.ports.feed import Marks
from imagerepo.settings import Storage
from tests.harness.archive import in_segments
from tests.harness.dicom_file import ct
from tests.harness.requests import journal, store

SMALL = Storage(reserve=0, segment_size=1 << 20)


def followed(feed: SegmentFeed, marks: Marks) -> tuple[list[str], Marks]:
    """Everything there is after `marks`."""
    found: list[str] = []
    more = True
    while more:
        page = feed.since(marks)
        found += [f"{one.instance_uid} {one.version}" for one in page.arrived]
        marks, more = page.marks, page.more
    return found, marks


def named(*numbers: int, version: int = 1) -> list[str]:
    return [f"{ct(number).instance} {version}" for number in numbers]


def test_versions_of_all_writers_come_once_each_writer_s_in_order(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        feed = SegmentFeed(tmp_path)
        _, marks = followed(feed, feed.now())
        archive.commits.commit([store(ct(1)), journal(query="x"), store(ct(2))])
        archive.other.commit([store(ct(3))])
        found, marks = followed(feed, marks)
        assert sorted(found) == named(1, 2, 3)
        assert found.index(named(1)[0]) < found.index(named(2)[0])
        archive.commits.commit([store(ct(1)), store(ct(4))])  # the first is a duplicate: nothing was stored
        archive.commits.commit([store(ct(2, variant=1))])
        found, marks = followed(feed, marks)
        assert found == named(4) + named(2, version=2)
        assert followed(feed, marks) == ([], marks)


def test_a_caller_comes_with_what_it_stored(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        archive.commits.commit([store(ct(1), "other")])
        (one,) = SegmentFeed(tmp_path).since({}).arrived
    assert (one.caller, one.institution, one.study_uid) == ("ae:TEST", "other", ct(1).study)


def test_it_goes_on_over_segments_and_starts(tmp_path: Path) -> None:
    seen: list[str] = []
    marks: Marks = {}
    for start in range(3):
        with in_segments(tmp_path, SMALL) as archive:
            feed = SegmentFeed(tmp_path)
            for number in range(6):
                archive.commits.commit([store(ct(start * 6 + number, size=300 << 10))])
                if number % 2:
                    found, marks = followed(feed, marks)
                    seen += found
    assert len(list((tmp_path / "segments").iterdir())) > 3
    assert seen == named(*range(18))


def test_what_was_stored_before_it_is_not_told_from_now_on(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        archive.commits.commit([store(ct(1))])
        feed = SegmentFeed(tmp_path)
        marks = feed.now()
        archive.commits.commit([store(ct(2))])
        assert followed(feed, marks)[0] == named(2)


def test_an_index_made_anew_tells_nothing_twice(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        for number in range(4):
            archive.commits.commit([store(ct(number, size=400 << 10))])
        found, marks = followed(SegmentFeed(tmp_path), {})
        assert found == named(*range(4))
    for path in tmp_path.glob(f"{INDEX}*"):
        path.unlink()
    with in_segments(tmp_path, SMALL) as archive:
        archive.commits.commit([store(ct(9))])
        assert followed(SegmentFeed(tmp_path), marks)[0] == named(9)


def test_a_page_ends_and_the_next_goes_on_behind_it(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        for start in range(0, 1200, 100):
            archive.commits.commit([store(ct(number)) for number in range(start, start + 100)])
        page = SegmentFeed(tmp_path).since({})
        assert len(page.arrived) < 1200
        assert page.more
        assert followed(SegmentFeed(tmp_path), {})[0] == named(*range(1200))


def test_a_segment_that_is_lost_keeps_nothing_behind_it(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        for number in range(6):
            archive.commits.commit([store(ct(number, size=600 << 10))])
        first, *others = sorted((tmp_path / "segments").iterdir())
        assert others
        first.unlink()
        found, _ = followed(SegmentFeed(tmp_path), {})
        assert found
        assert set(found) < set(named(*range(6)))
        assert found[-1] == named(5)[0]
