"""ports.feed.ChangeFeed: what every adapter promises to who follows what changed."""

import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import pytest

from imagerepo.errors import ForgottenError
from imagerepo.model.change import Change, ChangeKind
from imagerepo.model.events import Action, CommitKind
from imagerepo.ports.feed import Mark, Marks
from tests.harness.archive import Archive
from tests.harness.dicom_file import ct, uid
from tests.harness.requests import change, journal, store

STORED, DELETED = ChangeKind.STORED, ChangeKind.DELETED


def followed(archive: Archive, marks: Marks, limit: int = 100, institution: str = "default"):
    """Everything there is after `marks`, and the marks behind it."""
    found: list[Change] = []
    more = True
    while more:
        page = archive.changes.since(institution, marks, limit)
        assert len(page.changes) <= limit
        found += page.changes
        marks, more = page.marks, page.more
    return found, marks


def names(changes: list[Change]) -> list[tuple[str, str | None, int]]:
    return [(one.kind, one.instance_uid or one.series_uid or one.study_uid, one.version) for one in changes]


def test_all_that_changed_is_told_in_its_order_and_nothing_else(archive: Archive) -> None:
    archive.commits.commit([store(ct(1)), journal(query="x"), store(ct(2, series=2))])
    archive.commits.commit([store(ct(1))])  # a duplicate: nothing changed
    archive.other.commit([store(ct(1, variant=1))])
    archive.commits.commit([change(Action.HOLD, 1, reason="a trial")])
    archive.other.commit([change(Action.DELETE, 1)])  # refused: it is held
    archive.other.commit([change(Action.RELEASE, 1)])
    archive.other.commit([change(Action.DELETE, 1, 1, 1, reason="by mistake"), change(Action.DELETE, 1)])
    found, marks = followed(archive, {})
    assert names(found) == [
        (STORED, uid(1, 1, 1), 1),
        (STORED, uid(1, 2, 2), 1),
        (STORED, uid(1, 1, 1), 2),
        (ChangeKind.HELD, uid(1), 0),
        (ChangeKind.RELEASED, uid(1), 0),
        (DELETED, uid(1, 1, 1), 0),
        (DELETED, uid(1), 0),
    ]
    assert {(one.study_uid, one.caller) for one in found} == {(uid(1), "ae:TEST")}
    assert [one.series_uid for one in found[:2]] == [uid(1, 1), uid(1, 2)]
    assert (found[3].reason, found[5].reason) == ("a trial", "by mistake")
    assert [one.instances for one in found] == [0, 0, 0, 0, 0, 1, 1]
    assert len({one.id for one in found}) == len(found)
    assert followed(archive, marks) == ([], marks)


def test_an_institution_is_told_what_is_its_own(archive: Archive) -> None:
    archive.commits.commit([store(ct(1)), store(ct(2, study=2), "other"), store(ct(3, study=3))])
    archive.commits.commit([change(Action.DELETE, 2, institution="other")])
    assert names(followed(archive, {})[0]) == [(STORED, uid(1, 1, 1), 1), (STORED, uid(3, 1, 3), 1)]
    assert names(followed(archive, {}, institution="other")[0]) == [(STORED, uid(2, 1, 2), 1), (DELETED, uid(2), 0)]
    assert followed(archive, {}, institution="nobody")[0] == []


@pytest.mark.parametrize("limit", [1, 3, 7, 1000])
def test_pages_of_any_length_are_the_same_whole(archive: Archive, limit: int) -> None:
    for start in (0, 5, 10):
        archive.commits.commit([store(ct(number)) for number in range(start, start + 5)])
        archive.other.commit([store(ct(start, study=2)), journal(query="x")])
    found, marks = followed(archive, {}, limit)
    wanted = [
        one
        for start in (0, 5, 10)
        for one in (*(uid(1, 1, number) for number in range(start, start + 5)), uid(2, 1, start))
    ]
    assert [one.instance_uid for one in found] == wanted
    archive.commits.commit([store(ct(99))])
    assert [one.instance_uid for one in followed(archive, marks, limit)[0]] == [uid(1, 1, 99)]


def test_who_begins_now_is_told_what_comes(archive: Archive) -> None:
    assert followed(archive, archive.changes.now("default"))[0] == []
    archive.commits.commit([store(ct(1))])
    marks = archive.changes.now("default")
    archive.other.commit([store(ct(2))])
    assert [one.instance_uid for one in followed(archive, marks)[0]] == [uid(1, 1, 2)]


def test_a_stamp_is_another_one_once_there_is_more(archive: Archive) -> None:
    archive.commits.commit([store(ct(1))])
    before = archive.changes.stamps(["default", "nobody"])
    assert set(before) == {"default", "nobody"}
    assert archive.changes.stamps(["default"]) == {"default": before["default"]}
    archive.other.commit([store(ct(2))])
    assert archive.changes.stamps(["default"])["default"] != before["default"]


def test_marks_of_another_repository_are_told_apart(archive: Archive) -> None:
    archive.commits.commit([store(ct(1))])
    marks = archive.changes.now("default")
    foreign = {name: Mark(mark.segment, mark.position + 1000) for name, mark in marks.items() if name != "+"}
    archive.commits.commit([store(ct(2))])
    with pytest.raises(ForgottenError):
        followed(archive, foreign)


def test_who_follows_while_all_write_misses_nothing_and_is_told_nothing_twice(archive: Archive) -> None:
    """Writers store to studies of their own and to one that all share, and delete from it; one follows meanwhile."""
    acknowledged: list[tuple[str, int]] = []
    lock = threading.Lock()
    ending = threading.Event()
    found: list[Change] = []

    def write(worker: int) -> None:
        writer = (archive.commits, archive.other)[worker % 2]
        for turn in range(25):
            shared = ct(turn % 3, study=9, variant=worker * 100 + turn)
            own = ct(turn, study=10 + worker)
            for file, result in zip((shared, own), writer.commit([store(shared), store(own)]), strict=True):
                assert result.kind is CommitKind.STORED, result.error
                with lock:
                    acknowledged.append((file.instance, result.version))
            if turn % 5 == worker:
                writer.commit([change(Action.DELETE, 9)])

    def follow() -> None:
        marks: Marks = {}
        while True:
            last = ending.is_set()
            page, marks = followed(archive, marks, 7)
            found.extend(page)
            if last:
                return

    with ThreadPoolExecutor(5) as pool:
        follower = pool.submit(follow)
        for one in [pool.submit(write, worker) for worker in range(4)]:
            one.result()
        ending.set()
        follower.result()
    told = [(one.instance_uid, one.version) for one in found if one.kind is STORED]
    assert len(told) == len(set(told))
    assert set(told) == set(acknowledged)
    assert names(followed(archive, {})[0]) == names(found)
    _in_order([one for one in found if one.study_uid == uid(9)])


def _in_order(changes: list[Change]) -> None:
    """Versions of an instance rise, and a deletion removes what was stored since the one before."""
    last: dict[str | None, int] = defaultdict(int)
    there: set[str | None] = set()
    for one in changes:
        if one.kind is STORED:
            assert one.version == last[one.instance_uid] + 1
            last[one.instance_uid] = one.version
            there.add(one.instance_uid)
        else:
            assert one.instances == len(there)
            there.clear()
