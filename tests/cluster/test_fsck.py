"""fsck of a cluster: what does not fit is found and named; counts are repaired, nothing else is touched."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from imagerepo.adapters.bundles.checking import BundleCheck
from imagerepo.model.events import Action, CommitKind
from imagerepo.model.findings import Examined, Fault, Finding, Treatment
from imagerepo.settings_cluster import Store
from tests.harness import databases, s3
from tests.harness.committing import Writing, writing
from tests.harness.dicom_file import ct, uid
from tests.harness.requests import change, spooled, store
from tests.testbed.shared import shared_bed

pytestmark = pytest.mark.timeout(300)

_YOUNG = timedelta(hours=1)  # what is younger is not missed by any row


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Tests share the bucket."""
    return s3.settings(shared_bed(), tmp_path_factory.mktemp("fsck"))


@pytest.fixture(scope="module")
def filled(settings: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Two studies: of two series, in which something was deleted and corrected; and of a large instance."""
    with databases.with_schema() as url:
        with writing(url, settings, tmp_path_factory.mktemp("filled"), "one") as made:
            made.commits.commit([store(ct(number, series=number % 2)) for number in range(8)])
            made.commits.commit([store(ct(0, series=0, variant=1))])
            made.commits.commit([change(Action.DELETE, 1, 1, 1)])
            request = spooled(made.commits, ct(60, study=2, size=9 << 20))
            assert made.commits.commit([request])[0].kind is CommitKind.STORED
            request.payload.discard()
        yield url


@pytest.fixture
def one(filled: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    """Each test has a database of its own."""
    with databases.copied(filled) as url, writing(url, settings, tmp_path, "two") as made:
        yield made


def check(
    one: Writing, treatment: Treatment = Treatment.REPORT, grace: timedelta = _YOUNG
) -> tuple[list[Finding], Examined]:
    looking = BundleCheck(one.database, one.store, treatment, grace)
    return list(looking.findings()), looking.examined


def damage(one: Writing, *statements: str) -> None:
    with one.database.transaction() as connection:
        for statement in statements:
            connection.run(statement)


def test_what_was_stored_fits(one: Writing) -> None:
    found, examined = check(one)
    assert found == []
    counts = (examined.studies, examined.series, examined.instances, examined.objects)
    assert counts == (2, 3, 8, 4)
    assert examined.bytes > 9 << 20


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE study SET instance_count = 70 WHERE instance_count = 7", Fault.COUNT),
        pytest.param("UPDATE study SET series_count = 1", Fault.COUNT, marks=pytest.mark.long),
        ("UPDATE series SET instance_count = 9 WHERE instance_count = 4", Fault.COUNT),
        ("UPDATE holding SET hot_bytes = hot_bytes + 1, study_count = 0", Fault.HOLDINGS),
        pytest.param("DELETE FROM holding", Fault.HOLDINGS, marks=pytest.mark.long),
        ("UPDATE object SET live = live + 1", Fault.OBJECT_COUNT),
        ("UPDATE object SET live = 0, gone_at = 1", Fault.OBJECT_COUNT),
        pytest.param("UPDATE object SET gone_at = 1", Fault.OBJECT_COUNT, marks=pytest.mark.long),
    ],
)
def test_what_follows_from_other_rows_is_repaired(one: Writing, statement: str, fault: Fault) -> None:
    before = sums(one)
    damage(one, statement)
    assert sums(one) != before
    found, _ = check(one)
    assert {finding.fault for finding in found} == {fault}
    assert not any(finding.repaired for finding in found)
    repaired, examined = check(one, Treatment.REPAIR)
    assert (len(repaired), examined.left) == (len(found), 0)
    assert sums(one) == before
    assert check(one)[0] == []


def sums(one: Writing) -> list[list[tuple]]:
    """All that is counted."""
    return [
        one.rows("SELECT id, series_count, instance_count FROM study ORDER BY id"),
        one.rows("SELECT id, instance_count FROM series ORDER BY id"),
        one.rows("SELECT id, live, gone_at FROM object ORDER BY id"),
        one.rows(
            "SELECT sum(study_count), sum(series_count), sum(instance_count), sum(hot_bytes) FROM holding "
            "GROUP BY institution_id"
        ),
    ]


_FIRST = "(SELECT min(id) FROM instance)"


@pytest.mark.parametrize(
    ("statement", "faults"),
    [
        (f"DELETE FROM version WHERE instance_id = {_FIRST}", {Fault.VERSION_INCOMPLETE, Fault.ROW_ASTRAY}),
        ('UPDATE "range" SET "offset" = 1 << 30', {Fault.RANGE_OUTSIDE}),
        ("DELETE FROM study", {Fault.ROW_ASTRAY, Fault.OBJECT_COUNT, Fault.HOLDINGS}),
        *(pytest.param(*one, marks=pytest.mark.long) for one in (
            (f"DELETE FROM copy WHERE instance_id = {_FIRST}", {Fault.VERSION_INCOMPLETE, Fault.ROW_ASTRAY}),
            (f'DELETE FROM "range" WHERE instance_id = {_FIRST}', {Fault.VERSION_INCOMPLETE, Fault.OBJECT_COUNT}),
            (f'UPDATE "range" SET length = length - 1 WHERE instance_id = {_FIRST}', {Fault.VERSION_INCOMPLETE}),
            ("UPDATE instance SET current = 9", {Fault.INSTANCE_CURRENT}),
            ("DELETE FROM object", {Fault.VERSION_INCOMPLETE}),
            ("DELETE FROM instance WHERE study_id = (SELECT max(id) FROM study)",
             {Fault.ROW_ASTRAY, Fault.OBJECT_COUNT, Fault.HOLDINGS}),
            ("UPDATE object SET store = 'elsewhere'", {Fault.OBJECT_MISSING}),
        )),
    ],
)  # fmt: skip
def test_rows_that_contradict_each_other_are_found(one: Writing, statement: str, faults: set[Fault]) -> None:
    damage(one, statement)
    found, _ = check(one)
    assert faults <= {finding.fault for finding in found}
    assert not any(finding.repaired for finding in found)


def stored_apart(one: Writing, *numbers: int) -> list[tuple[str, int]]:
    """Store to a study of this test alone, which may lose its objects: key and size of each."""
    one.commits.commit([store(ct(1, study=100 + numbers[0], series=number)) for number in numbers])
    return one.rows("SELECT key, size FROM object WHERE key LIKE %s ORDER BY key", f"%/{uid(100 + numbers[0])}/%")


def test_an_object_that_is_gone_and_one_that_is_cut_are_named(one: Writing) -> None:
    (gone, _), (cut, size) = stored_apart(one, 1, 2)
    bucket = one.store.bucket("default")
    one.store.delete(bucket, [gone, cut])
    one.store.put(cut, [bytes(size - 1)], institution="default")
    found, _ = check(one, Treatment.REPAIR)
    assert {(finding.fault, finding.place) for finding in found} == {
        (Fault.OBJECT_MISSING, gone),
        (Fault.OBJECT_RESIZED, cut),
    }
    assert not any(finding.repaired for finding in found)


def test_an_object_that_is_to_go_need_not_be_there(one: Writing) -> None:
    ((key, _),) = stored_apart(one, 3)
    one.commits.commit([change(Action.DELETE, 103)])
    assert check(one)[0] == []
    one.store.delete(one.store.bucket("default"), [key])
    assert check(one)[0] == []


def test_what_no_row_names_is_counted_once_it_could_have_been_named(one: Writing) -> None:
    key = f"default/{uid(1)}/{uid(1, 0)}/{0:032x}"
    one.store.put(key, [b"left by a replica that died"], institution="default")
    assert check(one)[1].unnamed == 0
    found, examined = check(one, grace=timedelta(seconds=-60))
    assert found == []
    assert examined.unnamed > 0
    one.store.delete(one.store.bucket("default"), [key])


def test_what_was_not_stored_here_is_named(url: str, tmp_path: Path) -> None:
    own = s3.settings(shared_bed(), tmp_path)
    with writing(url, own, tmp_path, "one") as one:
        one.commits.commit([store(ct(1))])
        one.store.put("holiday.jpg", [b"not ours"], institution="default")
        one.store.put("default/ledger/000001-000000000001", [b"passed over"], institution="default")
        found, _ = check(one)
    assert [(finding.fault, finding.place) for finding in found] == [(Fault.OBJECT_FOREIGN, "holiday.jpg")]


def test_an_object_with_versions_of_another_series_is_not_set_to_go(one: Writing) -> None:
    """Its own series counts one less than there are: a repair that believed it would lose the other's bytes."""
    damage(one, f'UPDATE "range" SET object_id = (SELECT max(id) FROM object) WHERE instance_id = {_FIRST}')
    before = sums(one)[2]
    found, _ = check(one, Treatment.REPAIR)
    assert Fault.RANGE_ELSEWHERE in {finding.fault for finding in found}
    ((last, key),) = one.rows("SELECT id, key FROM object ORDER BY id DESC LIMIT 1")
    assert [row for row in sums(one)[2] if row[0] == last] == [row for row in before if row[0] == last]
    assert (Fault.OBJECT_COUNT, key, True) not in {(one.fault, one.place, one.repaired) for one in found}


def test_commits_and_deletions_meanwhile_are_no_fault(one: Writing) -> None:
    ending = threading.Event()

    def commit() -> None:
        number = 100
        while not ending.is_set():
            one.commits.commit([store(ct(number, study=3, series=number % 3)), store(ct(number, study=4))])
            one.commits.commit([change(Action.DELETE, 4)])
            number += 1

    committer = threading.Thread(target=commit)
    committer.start()
    try:
        for _ in range(6):
            assert check(one, Treatment.REPAIR)[0] == []
    finally:
        ending.set()
        committer.join()
    assert check(one)[0] == []
    assert json.dumps(one.journal.verify(with_bytes=True).entries)
