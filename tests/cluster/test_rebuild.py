"""The database is lost: what S3 has makes another one, with the same answers."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from imagerepo.adapters.bundles.checking import BundleCheck
from imagerepo.adapters.bundles.reclaim import Reclaimer
from imagerepo.errors import NotFoundError
from imagerepo.model.events import Action, CommitKind
from imagerepo.model.findings import Treatment
from imagerepo.settings_cluster import Store
from tests.cluster.moving import write_settings
from tests.harness import compaction, databases, s3
from tests.harness.archive import in_segments
from tests.harness.committing import Writing, writing
from tests.harness.dicom_file import DicomFile, ct, uid
from tests.harness.ledgers import Keeping
from tests.harness.rebuilding import INSTITUTIONS, LYING, answers, rebuild, rows, settle
from tests.harness.requests import change, journal, spooled, store
from tests.testbed.s3 import client
from tests.testbed.shared import shared_bed
from tests.wire.importing import Run, importer

__all__ = ["importer"]

pytestmark = pytest.mark.timeout(300)

_names = itertools.count()


@pytest.fixture
def settings(tmp_path: Path) -> Store:
    return s3.settings(shared_bed(), tmp_path)


@pytest.fixture
def lost(url: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    """The database that is going to be lost."""
    with writing(url, settings, tmp_path, "lost") as made:
        yield made


@pytest.fixture
def anew(settings: Store, tmp_path: Path) -> Iterator[Callable[[], Writing]]:
    """Rebuilds into another database, and opens that."""
    with databases.with_schema() as url:

        def made() -> Iterator[Writing]:
            said = rebuild(url, settings, tmp_path)
            assert said.is_whole, said
            with writing(url, settings, tmp_path, f"anew-{next(_names)}") as opened:
                yield opened

        opening = made()
        yield lambda: next(opening)
        opening.close()


def described(number: int, **words: str) -> DicomFile:
    tags = {"name": (0x00100010, "PN"), "patient": (0x00100020, "LO"), "modality": (0x00080060, "CS")}
    said = {tags[word][0]: (tags[word][1], value) for word, value in words.items()}
    return replace(ct(number, study=5, series=number % 2), attributes=said)


def fill(one: Writing) -> None:
    """Studies that were stored, corrected, deleted in part, wholly, and again; holds; another institution."""
    for number in range(6):
        one.commits.commit([store(ct(number, study=number % 3, series=number % 2)), journal(query=str(number))])
    one.commits.commit([store(ct(number, study=3)) for number in range(10)])
    one.commits.commit([store(ct(0, study=0, series=0, variant=1)), store(ct(9, study=3, variant=1))])
    one.commits.commit([change(Action.DELETE, 3, 1, 0)])
    one.commits.commit([change(Action.DELETE, 1)])
    one.commits.commit([store(ct(1, study=1, series=1, variant=2))])
    one.commits.commit([store(described(number, name=f"N{number}^X", modality="MR")) for number in range(4)])
    one.commits.commit([store(replace(described(0, name="NEW^X", patient="P7"), pixels=bytes(64)))])
    one.commits.commit([change(Action.DELETE, 5, 0, 0)])  # described the study and the series
    one.commits.commit([change(Action.HOLD, 2), change(Action.HOLD, 0)])
    one.commits.commit([change(Action.RELEASE, 0)])
    one.commits.commit([store(ct(number, study=7), "other") for number in range(3)])
    large = spooled(one.commits, ct(60, study=8, size=9 << 20))
    assert one.commits.commit([large])[0].kind is CommitKind.STORED
    large.payload.discard()


def test_the_same_is_answered_from_the_ledger_and_the_objects(lost: Writing, anew: Callable[[], Writing]) -> None:
    fill(lost)
    settle(lost)
    before, said, lying = rows(lost), answers(lost), lost.rows(LYING)
    made = anew()
    after = rows(made)
    for table, of_it in before.items():
        assert after[table] == of_it, table
    assert answers(made) == said
    assert made.rows(LYING) == lying
    made.journal.verify(with_bytes=True)
    looking = BundleCheck(made.database, made.store, Treatment.REPORT, timedelta(0))
    assert list(looking.findings()) == []


@pytest.mark.long
def test_it_goes_on_where_it_was(lost: Writing, anew: Callable[[], Writing]) -> None:
    """Version numbers, holds and the ledger."""
    fill(lost)
    settle(lost)
    made = anew()
    results = made.commits.commit([
        store(ct(0, study=0, series=0)),
        store(ct(0, study=0, series=0, variant=7)),
        store(ct(0, study=3)),
        change(Action.DELETE, 2),
        change(Action.DELETE, 0),
    ])  # fmt: skip
    stored, failed = CommitKind.STORED, CommitKind.FAILED
    assert [one.kind for one in results] == [CommitKind.DUPLICATE, stored, stored, failed, CommitKind.CHANGED]
    assert [one.version for one in results[:3]] == [1, 3, 2]
    settle(made)
    assert Keeping(made).journal.verify_copy().entries == made.journal.verify(with_bytes=True).entries


def test_what_the_ledger_has_not_is_taken_from_the_objects_and_said_so(
    lost: Writing, anew: Callable[[], Writing]
) -> None:
    lost.commits.commit([store(ct(number)) for number in range(4)])
    settle(lost)
    lost.commits.commit([store(ct(0, variant=1))])
    lost.commits.commit([store(ct(4)), store(ct(5, study=2)), store(ct(6, study=7), "other")])
    lost.commits.commit([store(ct(0, variant=2))])
    files = {number: lost.bytes_of(ct(0).instance, number) for number in (1, 2, 3)}
    found = answers(lost)[2:]
    made = anew()
    assert answers(made)[2:] == found
    assert {number: made.bytes_of(ct(0).instance, number) for number in (1, 2, 3)} == files
    assert made.journal.verify(with_bytes=True).entries == lost.journal.verify(with_bytes=True).entries
    said = [line for line in made.journal.entries() if '"caller":"rebuild:ae:TEST"' in line]
    assert len(said) == 5
    settle(made)


@pytest.mark.long
def test_without_any_ledger_all_objects_make_a_database(lost: Writing, anew: Callable[[], Writing]) -> None:
    files = [ct(number, study=number % 3, series=number % 2) for number in range(30)]
    lost.commits.commit([store(file) for file in files])
    lost.commits.commit([store(replace(files[0], pixels=bytes(99)))])
    made = anew()
    assert all(made.bytes_of(file.instance, 1) == file.part10 for file in files)
    assert made.bytes_of(files[0].instance) == replace(files[0], pixels=bytes(99)).part10
    made.journal.verify(with_bytes=True)


def test_deleted_stays_deleted_and_its_bytes_go(lost: Writing, anew: Callable[[], Writing]) -> None:
    lost.commits.commit([store(ct(number, study=study)) for study in (1, 2) for number in range(3)])
    lost.commits.commit([change(Action.DELETE, 1), change(Action.DELETE, 2, 1, 0)])
    settle(lost)
    made = anew()
    assert made.rows("SELECT i.uid FROM instance i ORDER BY i.id") == [
        (ct(1, study=2).instance,),
        (ct(2, study=2).instance,),
    ]
    assert Reclaimer(made.database, made.store).work(timedelta(0)) == 1
    left = [one.key for one in made.store.list(made.store.bucket("default"), f"default/{uid(1)}/", "")]
    assert left == []


@pytest.mark.long
def test_what_was_compacted_is_found_where_it_is(lost: Writing, anew: Callable[[], Writing]) -> None:
    files = [ct(number) for number in range(12)]
    compaction.store_singly(lost, files)
    lost.commits.commit([store(ct(3, variant=1))])
    compaction.compact(lost)
    lost.commits.commit([change(Action.DELETE, 1, 1, 5)])
    compaction.reclaim(lost)
    settle(lost)
    before, said = rows(lost), answers(lost)
    made = anew()
    assert rows(made) == before
    assert answers(made) == said
    assert compaction.is_sound(made)


@pytest.mark.long
def test_copies_that_lost_bits_are_not_taken_for_what_they_were_made_of(
    lost: Writing, settings: Store, tmp_path: Path, anew: Callable[[], Writing]
) -> None:
    """Between the copying of objects and their removal both are there."""
    files = [ct(number) for number in range(12)]
    compaction.store_singly(lost, files)
    compaction.compact(lost)
    settle(lost)
    compaction.overwrite(lost, files[3].instance, 3000)
    made = anew()
    assert compaction.has(made, files)
    compaction.reclaim(made)
    assert compaction.has(made, files)
    assert compaction.is_sound(made)


@pytest.mark.long
def test_of_two_copies_the_one_that_lost_bits_is_given_up(
    lost: Writing, settings: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [ct(number) for number in range(12)]
    compaction.store_singly(lost, files)
    compaction.compact(lost)
    compaction.reclaim(lost)
    settle(lost)
    ((bucket, key),) = lost.rows("SELECT DISTINCT store, key FROM object WHERE live > 0")
    with client(shared_bed().plan.s3) as made:
        made.copy_object(Bucket=bucket, Key=f"{key.rpartition('/')[0]}/{'f' * 32}", CopySource=f"{bucket}/{key}")
    compaction.overwrite(lost, files[3].instance, 3000)
    with databases.with_schema() as url:
        assert rebuild(url, settings, tmp_path).damaged == 1
        assert [record.msg for record in caplog.records if record.levelname == "ERROR"] == ["rebuild.bytes_damaged"]
        with writing(url, settings, tmp_path, "anew") as anew:
            compaction.reclaim(anew)
            assert compaction.has(anew, files)


@pytest.mark.long
def test_a_study_of_more_commits_than_are_read_at_a_time_is_there_again(
    lost: Writing, anew: Callable[[], Writing]
) -> None:
    for number in range(140):
        lost.commits.commit([store(ct(number % 90, size=640, variant=number // 90)), store(ct(number, study=2))])
    settle(lost)
    before, said = rows(lost), answers(lost)
    made = anew()
    assert rows(made) == before
    assert answers(made) == said


@pytest.mark.long
def test_what_was_moved_from_a_data_folder_is_there_again(
    lost: Writing, url: str, settings: Store, tmp_path: Path, importer: Run, anew: Callable[[], Writing]
) -> None:
    """Its journal lines say where bytes lay in the folder, and of some that were deleted before it was moved."""
    with in_segments(tmp_path / "data") as folder:
        folder.commits.commit([store(ct(number, study=1 + number % 3)) for number in range(12)])
        folder.other.commit([store(ct(3, study=1, variant=1)), journal(query="x")])
        folder.commits.commit([change(Action.HOLD, 2)])
        folder.commits.commit([change(Action.DELETE, 3), change(Action.DELETE, 1, 1, 0)])
        folder.commits.commit([store(ct(2, study=3, variant=2)), store(ct(30, study=1), "other")])
        folder.commits.commit([store(ct(number, study=2), "other") for number in (31, 32)])
    lost.commits.commit([store(ct(6, study=1))])
    written = write_settings(tmp_path, url, settings, institutions=[{"id": name} for name in INSTITUTIONS])
    importer("--from-data", tmp_path / "data", "--config", written, "--json")
    lost.commits.commit([store(ct(20, study=1)), change(Action.DELETE, 1, 1, 9)])
    settle(lost)
    said = answers(lost)
    made = anew()
    assert answers(made) == said
    made.journal.verify(with_bytes=True)


@pytest.mark.long
def test_bytes_that_nobody_has_are_named_and_the_rest_is_there(
    lost: Writing, settings: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lost.commits.commit([store(ct(number, series=number)) for number in range(3)])
    settle(lost)
    ((key,),) = lost.rows("SELECT key FROM object WHERE key LIKE %s", f"%{uid(1, 1)}/%")
    lost.store.delete(lost.store.bucket("default"), [key])
    with databases.with_schema() as url:
        said = rebuild(url, settings, tmp_path)
        assert (said.lost, said.instances, said.is_whole) == (1, 2, False)
        assert [record.msg for record in caplog.records if record.levelname == "ERROR"] == ["rebuild.bytes_missing"]
        with writing(url, settings, tmp_path, "anew") as made:
            with pytest.raises(NotFoundError):
                made.bytes_of(ct(1, series=1).instance)
            (again,) = made.commits.commit([store(ct(1, series=1))])
            assert (again.kind, again.version) == (CommitKind.STORED, 2)


def test_what_contradicts_the_ledger_is_named_and_its_bytes_stay(
    lost: Writing, settings: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Deleted and stored to another study since: the deletion is not known any more."""
    files = [replace(ct(1), study=uid(study), series=uid(study, 1)) for study in (1, 2)]
    lost.commits.commit([store(files[0]), store(ct(2))])
    settle(lost)
    lost.commits.commit([change(Action.DELETE, 1, 1, 1)])
    lost.commits.commit([store(files[1]), store(ct(3, study=2))])
    lost.commits.commit([store(replace(files[1], pixels=bytes(99)))])
    with databases.with_schema() as url:
        said = rebuild(url, settings, tmp_path)
        assert (said.damaged, said.recovered, said.is_whole) == (2, 1, False)
        assert {record.msg for record in caplog.records if record.levelname == "ERROR"} == {"rebuild.instance_refused"}
        with writing(url, settings, tmp_path, "anew") as made:
            assert made.bytes_of(ct(1).instance) == files[0].part10
            assert made.bytes_of(ct(3, study=2).instance) == ct(3, study=2).part10
            assert Reclaimer(made.database, made.store).work(timedelta(0)) == 0
            assert made.rows("SELECT count(*) FROM reclaim") == [(0,)]
            assert len(list(made.store.list(made.store.bucket("default"), f"default/{uid(2)}/", ""))) == 2


@pytest.mark.long
def test_without_a_part_of_the_ledger_the_rest_is_there_and_it_is_said(
    lost: Writing, settings: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of an instance that was deleted and stored to another study, the deletion is not known any more."""
    keeping = Keeping(lost)
    moved = [replace(ct(1), study=uid(study), series=uid(study, 1)) for study in (1, 2)]
    keeping.commit(store(moved[0]), store(ct(2)))
    before = keeping.names()
    keeping.commit(change(Action.DELETE, 1, 1, 1))
    (deletion,) = set(keeping.names()) - set(before)
    keeping.commit(store(moved[1]), store(ct(3, study=3)))
    lost.store.delete(lost.store.bucket("default"), [f"default/ledger/{deletion}"])
    with databases.with_schema() as url:
        assert not rebuild(url, settings, tmp_path).is_whole
        said = {record.msg for record in caplog.records if record.levelname == "ERROR"}
        assert said == {"rebuild.ledger_damaged", "rebuild.study_damaged"}
        with writing(url, settings, tmp_path, "anew") as made:
            assert made.bytes_of(ct(3, study=3).instance) == ct(3, study=3).part10
            assert made.bytes_of(ct(1).instance) in {file.part10 for file in moved}
            assert list(BundleCheck(made.database, made.store, Treatment.REPORT, timedelta(0)).findings()) == []


def test_all_institutions_that_have_buckets_are_found(lost: Writing) -> None:
    lost.commits.commit([store(ct(1), name) for name in (*INSTITUTIONS, "north")])
    assert sorted(lost.store.institutions()) == sorted((*INSTITUTIONS, "north"))
