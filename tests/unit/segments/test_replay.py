"""The index is a projection: lost, behind or cut, the segments make it anew."""

import random
from pathlib import Path

from imagerepo.adapters.index_sql.engine import INDEX
from imagerepo.adapters.segments import folder as data_folder
from imagerepo.errors import NotFoundError
from imagerepo.model.query import Equals, Key, Level, Query
from imagerepo.settings import Storage
from tests.harness import segment_editor
from tests.harness.archive import Archive, in_segments
from tests.harness.dicom_file import ct, uid
from tests.harness.requests import journal, spooled, store

SMALL = Storage(reserve=0, segment_size=1 << 20)


def filled(archive: Archive) -> None:
    for number in range(12):
        writer = (archive.commits, archive.other)[number % 2]
        writer.commit([store(ct(number, study=number % 3, series=number % 2)), journal(query=str(number))])
    archive.commits.commit([store(ct(0, study=0, series=0, variant=1)), store(ct(50), "other")])
    request = spooled(archive.commits, ct(60, size=1 << 20))
    archive.other.commit([request])


def answers(archive: Archive) -> list[object]:
    """All that can be asked of the index, in the order in which it answers."""
    found: list[object] = [archive.index.holdings()]
    for institution in ("default", "other"):
        for level in Level:
            for matches in ((), ((Key.PATIENT_NAME, Equals("DOE^JANE")),)):
                rows = archive.index.search(Query(institution, level, matches, 1000))
                found.append(rows)
                uids = [row.instance.uid for row in rows if row.instance is not None]
                found += [archive.bytes_of(uid, institution=institution) for uid in uids]
    found.append(archive.bytes_of(ct(0, study=0, series=0).instance, 1))
    return found


def drop_index(data: Path) -> None:
    for path in data.glob(f"{INDEX}*"):
        path.unlink()


def test_a_dropped_index_comes_back_with_the_same_answers_in_the_same_order(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        filled(archive)
        before = answers(archive)
    drop_index(tmp_path)
    with in_segments(tmp_path, SMALL) as archive:
        assert answers(archive) == before


def test_an_index_that_is_no_database_is_made_anew(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        filled(archive)
        before = answers(archive)
    drop_index(tmp_path)
    (tmp_path / INDEX).write_bytes(random.Random(1).randbytes(9000))
    with in_segments(tmp_path, SMALL) as archive:
        assert answers(archive) == before


def test_an_index_left_behind_is_brought_up(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        archive.commits.commit([store(ct(1))])
    old = {path: path.read_bytes() for path in tmp_path.glob(f"{INDEX}*")}
    with in_segments(tmp_path, SMALL) as archive:
        filled(archive)
        before = answers(archive)
    drop_index(tmp_path)
    for path, content in old.items():
        path.write_bytes(content)
    with in_segments(tmp_path, SMALL) as archive:
        assert answers(archive) == before


def test_opening_again_changes_nothing_and_numbers_go_on(tmp_path: Path) -> None:
    with in_segments(tmp_path, SMALL) as archive:
        filled(archive)
        before = answers(archive)
    with in_segments(tmp_path, SMALL) as archive:
        assert answers(archive) == before
        (result,) = archive.commits.commit([store(ct(0, study=0, series=0, variant=2))])
        assert result.version == 3
    _, replayed = data_folder.make_ready(tmp_path, ())
    assert replayed.commits == 0


def test_a_damaged_commit_in_the_middle_costs_itself_alone(tmp_path: Path) -> None:
    files = [ct(number) for number in range(5)]
    with in_segments(tmp_path) as archive:
        for file in files:
            archive.commits.commit([store(file)])
    drop_index(tmp_path)
    (path,) = segment_editor.segments(tmp_path)
    for at in (0, -1):
        record = segment_editor.commits(path)[2 + at].record
        segment_editor.flip(path, record.offset + (20 if at else record.length // 2))
    with in_segments(tmp_path) as archive:
        for number, file in enumerate(files):
            if number in {1, 2}:
                try:
                    archive.bytes_of(file.instance)
                except NotFoundError:
                    continue
                raise AssertionError(number)
            assert archive.bytes_of(file.instance) == file.part10


def test_a_damaged_instance_costs_itself_alone(tmp_path: Path) -> None:
    files = [ct(number) for number in range(4)]
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(file) for file in files])
        archive.commits.commit([store(ct(9))])
    drop_index(tmp_path)
    (path,) = segment_editor.segments(tmp_path)
    at = path.read_bytes().index(files[1].data_set)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(b"\xff" * 60)
    with in_segments(tmp_path) as archive:
        # The damaged one keeps its place: another under its UID must not be given its version number.
        assert archive.index.holdings()["default"].instances == 5
        assert archive.bytes_of(files[2].instance) == files[2].part10
        (again,) = archive.commits.commit([store(ct(1, variant=1))])
        assert again.version == 2


def test_bytes_that_no_commit_names_do_not_exist(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1))])
        orphan = spooled(archive.commits, ct(2))
        kept = spooled(archive.commits, ct(3))
        archive.commits.commit([kept])
    del orphan
    assert len(list(tmp_path.glob("files/*/*.dcm"))) == 2
    with in_segments(tmp_path) as archive:
        assert archive.index.holdings()["default"].instances == 2
        assert archive.bytes_of(ct(3).instance) == ct(3).part10
    # Set aside, not removed: a fault found late can still be mended.
    assert len(list(tmp_path.glob("files/2*/*.dcm"))) == 1
    assert len(list(tmp_path.glob("files/orphaned/*.dcm"))) == 1


def test_a_large_file_survives_the_loss_of_the_commit_that_named_it(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([spooled(archive.commits, ct(1))])
        archive.commits.commit([store(ct(2))])
    drop_index(tmp_path)
    (path,) = segment_editor.segments(tmp_path)
    segment_editor.flip(path, segment_editor.commits(path)[0].record.payload + 5)
    with in_segments(tmp_path) as archive:
        assert archive.index.holdings()["default"].instances == 1
    (kept,) = tmp_path.glob("files/orphaned/*.dcm")
    assert kept.read_bytes() == ct(1).part10


def test_an_index_damaged_within_is_made_anew(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        filled(archive)
        before = answers(archive)
    with (tmp_path / INDEX).open("r+b") as file:
        file.seek(4096 + 100)
        file.write(b"\xff" * 60_000)
    with in_segments(tmp_path) as archive:
        assert answers(archive) == before


def test_a_study_is_described_by_its_earliest_commit_whatever_the_order_of_rows(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1, study=7))])
        archive.other.commit([store(ct(2, study=7))])
        before = archive.index.search(Query("default", Level.STUDY, (), 10))
    drop_index(tmp_path)
    with in_segments(tmp_path) as archive:
        assert archive.index.search(Query("default", Level.STUDY, (), 10)) == before
        assert before[0].study.uid == uid(7)
