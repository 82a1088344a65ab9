"""ports.commits.Commits: what every adapter promises."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from imagerepo.errors import ConflictError, NotFoundError
from imagerepo.model.events import CommitKind, OnDifference
from imagerepo.model.query import Equals, Key, Level, Query, Wildcard
from imagerepo.model.scope import Scope
from tests.harness.archive import Archive
from tests.harness.dicom_file import DicomFile, ct, uid
from tests.harness.requests import journal, spooled, store


def kinds(results) -> list[CommitKind]:
    return [one.kind for one in results]


def test_what_was_stored_comes_back_byte_for_byte(archive: Archive) -> None:
    file = ct(1)
    (result,) = archive.commits.commit([store(file)])
    assert (result.kind, result.version) == (CommitKind.STORED, 1)
    assert archive.bytes_of(file.instance) == file.part10


def test_a_spooled_file_comes_back_byte_for_byte(archive: Archive) -> None:
    file = ct(1, size=1 << 20)
    request = spooled(archive.commits, file)
    assert kinds(archive.commits.commit([request])) == [CommitKind.STORED]
    request.payload.discard()
    assert archive.bytes_of(file.instance) == file.part10


def test_several_buffers_are_stored_in_order(archive: Archive) -> None:
    file = ct(1)
    whole = file.part10
    pieces = (whole[:100], bytearray(whole[100:1000]), memoryview(whole)[1000:])
    payload = replace(store(file).payload, buffers=pieces)
    archive.commits.commit([replace(store(file), payload=payload)])
    assert archive.bytes_of(file.instance) == whole


def test_the_same_bytes_again_are_a_duplicate_and_no_new_row(archive: Archive) -> None:
    file = ct(1)
    archive.commits.commit([store(file)])
    (again,) = archive.other.commit([store(file)])
    assert (again.kind, again.version) == (CommitKind.DUPLICATE, 1)
    assert archive.index.holdings()["default"].instances == 1


def test_the_same_bytes_twice_in_one_batch_are_stored_once(archive: Archive) -> None:
    file = ct(1)
    results = archive.commits.commit([store(file), store(file), store(file)])
    assert kinds(results) == [CommitKind.STORED, CommitKind.DUPLICATE, CommitKind.DUPLICATE]
    assert {one.version for one in results} == {1}


def test_different_bytes_become_versions_that_all_stay_readable(archive: Archive) -> None:
    files = [ct(1, variant=number) for number in range(4)]
    for number, file in enumerate(files, start=1):
        (result,) = (archive.commits, archive.other)[number % 2].commit([store(file)])
        assert (result.kind, result.version) == (CommitKind.STORED, number)
    assert [archive.bytes_of(files[0].instance, number) for number in (1, 2, 3, 4)] == [one.part10 for one in files]
    assert archive.bytes_of(files[0].instance) == files[-1].part10


def test_different_bytes_in_one_batch_become_versions_in_its_order(archive: Archive) -> None:
    files = [ct(1, variant=number) for number in range(3)]
    results = archive.commits.commit([store(one) for one in files])
    assert [one.version for one in results] == [1, 2, 3]
    assert archive.bytes_of(files[0].instance, 2) == files[1].part10


def test_an_old_version_sent_again_is_a_duplicate_and_does_not_undo_the_newer(archive: Archive) -> None:
    first, second = ct(1), ct(1, variant=1)
    archive.commits.commit([store(first), store(second)])
    (again,) = archive.commits.commit([store(first)])
    assert (again.kind, again.version) == (CommitKind.DUPLICATE, 1)
    assert archive.bytes_of(first.instance) == second.part10


def test_different_bytes_are_a_conflict_where_versions_are_refused(archive: Archive) -> None:
    first, second = ct(1), ct(1, variant=1)
    archive.commits.commit([store(first)])
    (refused,) = archive.commits.commit([store(second, on_difference=OnDifference.REFUSE)])
    assert refused.kind is CommitKind.CONFLICT
    assert isinstance(refused.error, ConflictError)
    assert archive.bytes_of(first.instance) == first.part10
    with pytest.raises(NotFoundError):
        archive.bytes_of(first.instance, 2)


def test_a_conflict_does_not_fail_its_neighbours(archive: Archive) -> None:
    archive.commits.commit([store(ct(1))])
    refused = store(ct(1, variant=1), on_difference=OnDifference.REFUSE)
    results = archive.commits.commit([store(ct(2)), refused, journal(query="x"), store(ct(3))])
    assert kinds(results) == [CommitKind.STORED, CommitKind.CONFLICT, CommitKind.JOURNALED, CommitKind.STORED]


def test_the_same_uid_in_another_study_is_refused(archive: Archive) -> None:
    file = ct(1)
    archive.commits.commit([store(file)])
    (refused,) = archive.commits.commit([store(replace(file, study=uid(2), pixels=bytes(64)))])
    assert refused.kind is CommitKind.CONFLICT
    assert archive.index.version(Scope("default", instance_uid=file.instance)).study_uid == file.study


def test_institutions_share_nothing_but_the_disk(archive: Archive) -> None:
    ours, theirs = ct(1), ct(1, variant=1)
    results = archive.commits.commit([store(ours, "a"), store(theirs, "b")])
    assert [one.version for one in results] == [1, 1]
    assert archive.bytes_of(ours.instance, institution="a") == ours.part10
    assert archive.bytes_of(ours.instance, institution="b") == theirs.part10
    with pytest.raises(NotFoundError):
        archive.bytes_of(ours.instance, institution="c")


@pytest.mark.parametrize("tag", [0x00100010, 0x00100020, 0x00100030, 0x00100040])
def test_a_study_whose_patient_attributes_disagree_is_kept_and_flagged(archive: Archive, tag: int) -> None:
    vr, value = {0x00100010: ("PN", "ROE"), 0x00100030: ("DA", "19700101")}.get(tag, ("LO", "X"))
    other = replace(ct(2), attributes={tag: (vr, value)})
    (first,) = archive.commits.commit([store(ct(1))])
    (second,) = archive.commits.commit([store(other)])
    assert (first.patient_differs, second.patient_differs) == (False, True)
    (found,) = archive.index.search(Query("default", Level.STUDY, (), 10))
    assert found.study.patient_differs
    assert found.study.instance_count == 2


def test_names_that_differ_in_case_or_empty_components_are_the_same_patient(archive: Archive) -> None:
    other = replace(ct(2), attributes={0x00100010: ("PN", "Doe^Jane^^")})
    results = archive.commits.commit([store(ct(1)), store(other)])
    assert [one.patient_differs for one in results] == [False, False]


def test_many_threads_with_one_instance_store_it_once(archive: Archive) -> None:
    file = ct(1, size=64 << 10)
    barrier = threading.Barrier(12)

    def send(number: int):
        barrier.wait()
        (result,) = (archive.commits, archive.other)[number % 2].commit([store(file)])
        return result

    with ThreadPoolExecutor(12) as pool:
        results = list(pool.map(send, range(12)))
    assert sorted(kinds(results)) == [CommitKind.DUPLICATE] * 11 + [CommitKind.STORED]
    assert {one.version for one in results} == {1}
    assert archive.bytes_of(file.instance) == file.part10


def test_many_threads_with_different_bytes_get_versions_without_gap(archive: Archive) -> None:
    files = [ct(1, variant=number) for number in range(16)]
    barrier = threading.Barrier(len(files))

    def send(number: int):
        barrier.wait()
        (result,) = (archive.commits, archive.other)[number % 2].commit([store(files[number])])
        return result.version

    with ThreadPoolExecutor(len(files)) as pool:
        versions = list(pool.map(send, range(len(files))))
    assert sorted(versions) == list(range(1, len(files) + 1))
    for file, version in zip(files, versions, strict=True):
        assert archive.bytes_of(file.instance, version) == file.part10


def test_two_writers_in_opposite_order_do_not_wait_for_each_other_for_ever(archive: Archive) -> None:
    files = [ct(number) for number in range(30)]

    def send(writer, order):
        return [kind for one in order for kind in kinds(writer.commit([store(one)]))]

    with ThreadPoolExecutor(4) as pool:
        running = [
            pool.submit(send, writer, order)
            for writer, order in (
                (archive.commits, files),
                (archive.other, files[::-1]),
                (archive.commits, files[::-1]),
                (archive.other, files),
            )
        ]
        found = [kind for one in running for kind in one.result()]
    assert found.count(CommitKind.STORED) == len(files)
    assert found.count(CommitKind.DUPLICATE) == 3 * len(files)


def test_a_batch_larger_than_what_may_be_in_flight_is_stored_whole(archive: Archive) -> None:
    files = [ct(number, size=32) for number in range(1500)]
    results = archive.commits.commit([store(one) for one in files])
    assert set(kinds(results)) == {CommitKind.STORED}
    assert archive.index.holdings()["default"].instances == len(files)


def test_an_empty_commit_does_nothing(archive: Archive) -> None:
    assert list(archive.commits.commit([])) == []


@pytest.mark.parametrize("text", ["\ud800", "a\nb", "\x00", "\u2028", '"}', "é" * 5000])
def test_any_text_can_be_journaled_and_its_neighbours_are_stored(archive: Archive, text: str) -> None:
    results = archive.commits.commit([journal(query=text), store(ct(1))])
    assert kinds(results) == [CommitKind.JOURNALED, CommitKind.STORED]


def test_a_correction_reaches_search_and_heals_the_study(archive: Archive) -> None:
    def named(number: int, name: str) -> DicomFile:
        patient = {0x00100010: ("PN", f"{name}^NAME"), 0x00100020: ("LO", name)}
        return replace(ct(number, study=5), attributes=patient)

    for number in (1, 2):
        archive.commits.commit([store(named(number, "WRONG"))])
    for number in (1, 2):
        archive.commits.commit([store(named(number, "RIGHT"))])
        (found,) = archive.index.search(Query("default", Level.STUDY, ((Key.PATIENT_ID, Equals("RIGHT")),), 10))
        assert found.study.patient_name == "RIGHT^NAME"
        assert found.study.patient_differs == (number == 1)
    assert not archive.index.search(Query("default", Level.STUDY, ((Key.PATIENT_NAME, Wildcard("*WRONG*")),), 10))
    assert archive.index.search(Query("default", Level.STUDY, ((Key.PATIENT_NAME, Wildcard("*IGHT*")),), 10))
