"""ports.commits.Commits, deletions and holds: what every adapter promises."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from imagerepo.errors import HeldError, NotFoundError
from imagerepo.model.events import Action, CommitKind
from imagerepo.model.query import Equals, Key, Level, Query
from imagerepo.model.scope import Scope
from imagerepo.model.tier import Tier
from tests.harness.archive import Archive
from tests.harness.dicom_file import DicomFile, ct, uid
from tests.harness.requests import change, store


def instances(archive: Archive, institution: str = "default") -> set[str]:
    found = archive.index.search(Query(institution, Level.INSTANCE, (), 1000))
    return {one.instance.uid for one in found if one.instance is not None}


@pytest.mark.parametrize(
    ("names", "left"),
    [
        ((1,), {(2, 1, 4)}),
        ((1, 1), {(1, 2, 3), (2, 1, 4)}),
        ((1, 1, 1), {(1, 1, 2), (1, 2, 3), (2, 1, 4)}),
    ],
)
def test_what_is_deleted_is_gone_with_all_its_versions_and_nothing_else_is(
    archive: Archive, names: tuple[int, ...], left: set[tuple[int, ...]]
) -> None:
    kept = ct(4, study=2)
    archive.commits.commit([store(one) for one in (ct(1), ct(2), ct(3, series=2), kept)])
    archive.other.commit([store(ct(1, variant=1)), store(ct(1), "other")])
    (result,) = archive.other.commit([change(Action.DELETE, *names)])
    assert (result.kind, result.instances) == (CommitKind.CHANGED, 4 - len(left))
    assert instances(archive) == {uid(*one) for one in left}
    assert instances(archive, "other") == {uid(1, 1, 1)}
    holdings = archive.index.holdings()["default"]
    assert (holdings.instances, holdings.studies) == (len(left), len({study for study, *_ in left}))
    assert holdings.series == len({one[:2] for one in left})
    assert holdings.bytes_by_tier[Tier.HOT] == len(kept.part10) * len(left)
    with pytest.raises(NotFoundError):
        archive.index.version(Scope("default", instance_uid=ct(1).instance, version=1))


@pytest.mark.parametrize("names", [(7,), (1, 7), (1, 1, 7), (1, 2, 1)])
def test_what_is_not_there_cannot_be_deleted(archive: Archive, names: tuple[int, ...]) -> None:
    archive.commits.commit([store(ct(1)), store(ct(2, series=2))])
    (result,) = archive.commits.commit([change(Action.DELETE, *names)])
    assert isinstance(result.error, NotFoundError)
    assert len(instances(archive)) == 2


def test_another_institution_s_study_cannot_be_deleted(archive: Archive) -> None:
    archive.commits.commit([store(ct(1))])
    (result,) = archive.commits.commit([change(Action.DELETE, 1, institution="other")])
    assert isinstance(result.error, NotFoundError)
    assert instances(archive) == {ct(1).instance}


def test_what_was_deleted_is_stored_again_and_its_version_numbers_go_on(archive: Archive) -> None:
    file, other = ct(1), ct(1, variant=1)
    archive.commits.commit([store(file), store(other)])
    archive.commits.commit([change(Action.DELETE, 1)])
    for number, one in enumerate((file, other, replace(file, pixels=bytes(64))), start=3):
        (result,) = archive.other.commit([store(one)])
        assert (result.kind, result.version) == (CommitKind.STORED, number)
        assert archive.bytes_of(file.instance) == one.part10
    (again,) = archive.commits.commit([store(file)])
    assert (again.kind, again.version) == (CommitKind.DUPLICATE, 3)


def test_what_was_deleted_may_be_stored_in_another_study(archive: Archive) -> None:
    archive.commits.commit([store(ct(1))])
    archive.commits.commit([change(Action.DELETE, 1, 1, 1)])
    moved = replace(ct(1), study=uid(2))
    (result,) = archive.commits.commit([store(moved)])
    assert (result.kind, result.version) == (CommitKind.STORED, 2)
    assert archive.index.study_of(Scope("default", instance_uid=moved.instance)) == uid(2)


def test_a_study_is_described_by_what_is_left_of_it(archive: Archive) -> None:
    def named(number: int, name: str) -> DicomFile:
        patient = {0x00100010: ("PN", f"{name}^NAME"), 0x00100020: ("LO", name)}
        return replace(ct(number, study=5, series=number), attributes=patient)

    for number, name in enumerate(("WRONG", "RIGHT", "RIGHT"), start=1):
        archive.commits.commit([store(named(number, name))])
    (before,) = archive.index.search(Query("default", Level.STUDY, (), 10))
    assert (before.study.patient_id, before.study.patient_differs) == ("WRONG", True)
    archive.other.commit([change(Action.DELETE, 5, 1)])
    (after,) = archive.index.search(Query("default", Level.STUDY, ((Key.PATIENT_ID, Equals("RIGHT")),), 10))
    assert (after.study.patient_name, after.study.patient_differs) == ("RIGHT^NAME", False)
    assert (after.study.series_count, after.study.instance_count) == (2, 2)
    assert not archive.index.search(Query("default", Level.STUDY, ((Key.PATIENT_ID, Equals("WRONG")),), 10))


def test_nothing_of_a_study_that_is_held_can_be_deleted(archive: Archive) -> None:
    archive.commits.commit([store(ct(1)), store(ct(2, study=2))])
    assert archive.commits.commit([change(Action.HOLD, 1)])[0].kind is CommitKind.CHANGED
    for names in ((1,), (1, 1), (1, 1, 1)):
        (refused,) = archive.other.commit([change(Action.DELETE, *names)])
        assert isinstance(refused.error, HeldError)
    assert archive.commits.commit([store(ct(3)), store(ct(1, variant=1))])[0].kind is CommitKind.STORED
    assert archive.other.commit([change(Action.DELETE, 2)])[0].kind is CommitKind.CHANGED
    assert archive.other.commit([change(Action.RELEASE, 1)])[0].kind is CommitKind.CHANGED
    assert isinstance(archive.commits.commit([change(Action.RELEASE, 1)])[0].error, NotFoundError)
    assert archive.commits.commit([change(Action.DELETE, 1)])[0].instances == 2
    assert instances(archive) == set()


def test_a_study_that_is_not_there_cannot_be_held(archive: Archive) -> None:
    (result,) = archive.commits.commit([change(Action.HOLD, 1)])
    assert isinstance(result.error, NotFoundError)


def test_changes_and_arrivals_of_one_call_do_not_fail_each_other(archive: Archive) -> None:
    archive.commits.commit([store(ct(1)), store(ct(2, study=2)), store(ct(3, study=3))])
    results = archive.commits.commit([
        change(Action.DELETE, 1), store(ct(4, study=4)), change(Action.DELETE, 9), change(Action.HOLD, 2),
        change(Action.DELETE, 2), change(Action.DELETE, 3),
    ])  # fmt: skip
    assert [one.error is None for one in results] == [True, True, False, True, False, True]
    assert isinstance(results[4].error, HeldError)
    assert instances(archive) == {ct(2, study=2).instance, ct(4, study=4).instance}


def test_a_delete_that_races_stores_leaves_every_later_one(archive: Archive) -> None:
    """One sender stores, one deletes, over and over: what was stored after a deletion had returned is there."""
    file = ct(1)
    lock = threading.Lock()
    log: list[tuple[str, int]] = []  # in order of answers, with versions
    ending = threading.Event()

    def send(writer) -> None:
        while not ending.is_set():
            (result,) = writer.commit([store(file)])
            assert result.error is None
            with lock:
                log.append((result.kind, result.version))

    with ThreadPoolExecutor(3) as pool:
        senders = [pool.submit(send, writer) for writer in (archive.commits, archive.other, archive.other)]
        for turn in range(60):
            writer = (archive.commits, archive.other)[turn % 2]
            (result,) = writer.commit([change(Action.DELETE, 1)])
            assert result.error is None or isinstance(result.error, NotFoundError)
            with lock:
                deleted = len(log)
            (stored,) = writer.commit([store(file)])
            assert stored.kind in {CommitKind.STORED, CommitKind.DUPLICATE}
            assert archive.bytes_of(file.instance) == file.part10, (turn, log[deleted:])
        ending.set()
        for one in senders:
            one.result()
    versions = [version for kind, version in log if kind is CommitKind.STORED]
    assert len(set(versions)) == len(versions)
    assert archive.bytes_of(file.instance) == file.part10
