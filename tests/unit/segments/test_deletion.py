"""Tombstones and holes: an index made anew gives the same, whatever was deleted and given back before."""

import random
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.segments import folder as data_folder
from imagerepo.adapters.segments import index_file, verify
from imagerepo.adapters.segments.generation import FILE, Generation
from imagerepo.adapters.segments.numbers import Numbers
from imagerepo.adapters.segments.reclaim import Reclaimer
from imagerepo.errors import NotFoundError
from imagerepo.model.events import Action, CommitKind
from imagerepo.model.scope import Scope
from imagerepo.settings import Storage
from tests.harness import segment_editor
from tests.harness.archive import Archive, in_segments
from tests.harness.dicom_file import DicomFile, ct, uid
from tests.harness.requests import change, spooled, store
from tests.harness.stored import walk

SMALL = Storage(reserve=0, segment_size=1 << 20)
_TABLES = {
    "study": "SELECT n.name, x.* FROM study x JOIN institution n ON n.id = x.institution_id",
    "series": "SELECT n.name, x.* FROM series x JOIN institution n ON n.id = x.institution_id",
    "instance": "SELECT n.name, x.* FROM instance x JOIN institution n ON n.id = x.institution_id",
    "version": "SELECT * FROM version",
    "copy": "SELECT * FROM copy",
    "range": 'SELECT r.*, o.key FROM "range" r JOIN object o ON o.id = r.object_id',
    "holding": "SELECT n.name, x.* FROM holding x JOIN institution n ON n.id = x.institution_id",
    "gone": "SELECT n.name, x.* FROM gone x JOIN institution n ON n.id = x.institution_id",
    "hold": "SELECT n.name, x.* FROM hold x JOIN institution n ON n.id = x.institution_id",
    "tombstone": "SELECT n.name, x.* FROM tombstone x JOIN institution n ON n.id = x.institution_id",
    "chain": "SELECT * FROM chain",
}
_KEYS = {"institution_id", "object_id"}  # of tables whose rows are counted as they come
_TEXT = "SELECT rowid FROM study_text WHERE study_text MATCH 'patient_name : \"DOE\"'"


def rows(data: Path) -> dict[str, list[tuple[object, ...]]]:
    """All that the index has, by table."""
    connection = connect(data / INDEX)
    found: dict[str, list[tuple[object, ...]]] = {}
    for table, query in _TABLES.items():
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description]
        kept = [
            tuple(value for name, value in zip(names, row, strict=True) if name not in _KEYS)
            for row in cursor.fetchall()
        ]
        found[table] = sorted(kept, key=repr)
    found["text"] = sorted(connection.execute(_TEXT).fetchall())
    connection.close()
    return found


def drop_index(data: Path) -> None:
    for path in data.glob(f"{INDEX}*"):
        path.unlink()


def reclaim(data: Path) -> int:
    """Give everything back that was deleted; how many ranges."""
    connection = connect(data / INDEX)
    done = 0
    with Numbers(data / "run" / "numbers", 0) as numbers:
        reclaimer = Reclaimer(data, Generation(data / "run" / FILE), numbers.locked)
        while some := reclaimer.work(connection, datetime.now(UTC) + timedelta(days=1), timedelta()):
            done += some
    connection.close()
    return done


def named(number: int, name: str, **names: int) -> DicomFile:
    patient = {0x00100010: ("PN", f"DOE^{name}"), 0x00100020: ("LO", name)}
    return replace(ct(number, size=30_000, **names), attributes=patient)


def live(archive: Archive, rng: random.Random, steps: int) -> None:
    """Two writers store, correct, delete and hold, at random."""
    for _ in range(steps):
        writer = rng.choice((archive.commits, archive.other))
        study, series, number = rng.randrange(3), rng.randrange(2), rng.randrange(4)
        draw = rng.random()
        if draw < 0.7:
            some = [
                named(rng.randrange(6), rng.choice("AAB"), study=study, series=rng.randrange(2))
                for _ in range(rng.randrange(1, 4))
            ]
            # In this test a UID keeps to its study: its other names are part of it.
            writer.commit([store(one) for one in some])
        elif draw < 0.75:
            file = ct(number, study=study, series=series, variant=rng.randrange(9), size=30_000)
            writer.commit([spooled(writer, file)])
        elif draw < 0.95:
            names = (study, series, number)[: rng.randrange(1, 4)]
            writer.commit([change(Action.DELETE, *names)])
        else:
            writer.commit([change(rng.choice((Action.HOLD, Action.RELEASE)), study)])


@pytest.mark.parametrize("seed", range(12))
def test_an_index_made_anew_is_the_same_row_for_row(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data = tmp_path / "data"
    for _ in range(3):
        with in_segments(data, SMALL) as archive:
            live(archive, rng, 40)
            if rng.random() < 0.5:
                reclaim(data)
    before = rows(data)
    assert before["tombstone"]
    walk(data)
    drop_index(data)
    _, replayed = data_folder.make_ready(data, ("one", "two"))
    assert rows(data) == before
    assert replayed.damaged == 0
    reclaim(data)
    walk(data)
    assert index_file.rebuild(data).damaged == 0
    assert rows(data) == before


@pytest.mark.parametrize("seed", range(6))
def test_an_index_left_behind_is_brought_up_over_deletions_and_holes(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    data, old = tmp_path / "data", tmp_path / "old"
    with in_segments(data, SMALL) as archive:
        live(archive, rng, 25)
    old.mkdir()
    for path in data.glob(f"{INDEX}*"):
        shutil.copy(path, old)
    with in_segments(data, SMALL) as archive:
        live(archive, rng, 25)
        reclaim(data)
    before = rows(data)
    drop_index(data)
    for path in old.iterdir():
        shutil.copy(path, data)
    _, replayed = data_folder.make_ready(data, ("one", "two"))
    assert replayed.damaged == 0
    assert rows(data) == before
    walk(data)


def test_the_last_commit_of_a_segment_counts_although_its_bytes_were_given_back(tmp_path: Path) -> None:
    gone, kept = ct(1, size=9000), ct(2, study=2, size=9000)
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(gone), store(kept)])
        archive.other.commit([change(Action.DELETE, 1)])
        assert reclaim(tmp_path) == 1
        before = rows(tmp_path)
    last = segment_editor.commits(segment_editor.segments(tmp_path)[0])[-1]
    assert gone.instance.encode() in last.body
    drop_index(tmp_path)
    with in_segments(tmp_path) as archive:
        assert archive.bytes_of(kept.instance) == kept.part10
        assert rows(tmp_path) == before
        archive.commits.commit([store(ct(3))])
    assert verify.verify(tmp_path, with_bytes=True).damage == []


def test_a_torn_commit_that_no_tombstone_names_does_not_count_because_others_were_deleted(tmp_path: Path) -> None:
    torn = ct(1, study=3, size=9000)
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1)), store(ct(1, study=2))])
        archive.other.commit([change(Action.DELETE, 1)])
        archive.commits.commit([store(torn)])
    path = segment_editor.segments(tmp_path)[0]
    segment_editor.flip(path, path.read_bytes().index(torn.data_set[-500:]))
    drop_index(tmp_path)
    with in_segments(tmp_path) as archive:
        with pytest.raises(NotFoundError):
            archive.index.version(Scope("default", instance_uid=torn.instance))
        assert archive.bytes_of(ct(1, study=2).instance) == ct(1, study=2).part10


def test_damage_is_told_apart_from_what_was_deleted(tmp_path: Path) -> None:
    gone, damaged = ct(1, size=9000), ct(2, study=2, size=9000)
    with in_segments(tmp_path) as archive:
        for file in (gone, damaged, ct(3, study=3)):
            archive.commits.commit([store(file)])
        archive.commits.commit([change(Action.DELETE, 1)])
        reclaim(tmp_path)
    path = segment_editor.segments(tmp_path)[0]
    segment_editor.flip(path, path.read_bytes().index(damaged.data_set) + 50)
    with pytest.raises(verify.DamagedError, match=damaged.instance):
        verify.verify(tmp_path, with_bytes=True)


def test_bytes_of_a_delete_that_is_repeated_are_given_back_once_more_without_harm(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1)), store(ct(2, study=2))])
        archive.commits.commit([spooled(archive.commits, ct(3, size=1 << 20))])
        archive.commits.commit([change(Action.DELETE, 1)])
        connection = connect(tmp_path / INDEX)
        noted = connection.execute("SELECT * FROM reclaim").fetchall()
        objects = connection.execute("SELECT * FROM object").fetchall()
        assert len(noted) == reclaim(tmp_path) == 2
        # As if power had been lost before the index had forgotten them.
        connection.executemany("INSERT OR IGNORE INTO object VALUES (?, ?, ?)", objects)
        connection.executemany("INSERT INTO reclaim VALUES (?, ?, ?, ?, ?, ?)", noted)
        connection.close()
        assert reclaim(tmp_path) == 2
        assert archive.bytes_of(ct(2, study=2).instance) == ct(2, study=2).part10
        assert not list((tmp_path / "files").rglob("*.dcm"))


def test_a_reader_can_tell_that_bytes_may_be_gone(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1))])
        before = archive.objects.generation()
        archive.commits.commit([change(Action.DELETE, 1)])
        assert archive.objects.generation() == before
        reclaim(tmp_path)
        assert archive.objects.generation() > before


def test_versions_go_on_over_starts_and_rebuilds(tmp_path: Path) -> None:
    file = ct(1)
    for number in range(1, 5):
        with in_segments(tmp_path) as archive:
            (result,) = archive.commits.commit([store(file)])
            assert (result.kind, result.version) == (CommitKind.STORED, number)
            archive.other.commit([change(Action.DELETE, *((1,), (1, 1), (1, 1, 1))[number % 3])])
            reclaim(tmp_path)
        if number % 2:
            drop_index(tmp_path)
    assert uid(1) == file.study
