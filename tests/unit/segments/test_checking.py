"""fsck of a data folder: what does not fit is found; counts are repaired, the rest goes by making the index anew."""

from contextlib import closing
from pathlib import Path

import pytest

from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.segments import index_file
from imagerepo.adapters.segments.checking import SegmentCheck
from imagerepo.errors import DamagedError
from imagerepo.model.events import Action
from imagerepo.model.findings import Examined, Fault, Finding, Treatment
from imagerepo.settings import Storage
from tests.harness.archive import in_segments
from tests.harness.dicom_file import ct
from tests.harness.requests import change, spooled, store


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two studies: of two series, in which something was deleted and corrected; and of a large instance."""
    with in_segments(tmp_path, Storage(reserve=0, segment_size=1 << 20)) as archive:
        for number in range(8):
            (archive.commits, archive.other)[number % 2].commit([store(ct(number, series=number % 2))])
        archive.commits.commit([store(ct(0, series=0, variant=1))])
        archive.other.commit([change(Action.DELETE, 1, 1, 1)])
        archive.commits.commit([spooled(archive.commits, ct(60, study=2, size=1 << 20))])
    return tmp_path


def check(data: Path, treatment: Treatment = Treatment.REPORT) -> tuple[list[Finding], Examined]:
    looking = SegmentCheck(data, treatment)
    return list(looking.findings()), looking.examined


def damage(data: Path, statement: str) -> None:
    with closing(connect(data / INDEX)) as connection:
        connection.execute("PRAGMA foreign_keys=OFF")
        connection.execute(statement)


def test_what_was_stored_fits(data: Path) -> None:
    found, examined = check(data)
    assert found == []
    assert (examined.studies, examined.series, examined.instances, examined.unnamed) == (2, 3, 8, 0)


def test_commits_that_the_index_has_yet_to_read_are_no_fault(data: Path) -> None:
    with in_segments(data) as archive:
        index = (data / INDEX).read_bytes()
        archive.commits.commit([store(ct(70))])
    for path in data.glob(f"{INDEX}*"):
        path.unlink()
    (data / INDEX).write_bytes(index)
    assert check(data)[0] == []


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE study SET instance_count = 70 WHERE instance_count = 7", Fault.COUNT),
        ("UPDATE series SET instance_count = 9", Fault.COUNT),
        ("UPDATE holding SET hot_bytes = hot_bytes + 1", Fault.HOLDINGS),
        ("DELETE FROM holding", Fault.HOLDINGS),
    ],
)
def test_counts_are_repaired(data: Path, statement: str, fault: Fault) -> None:
    damage(data, statement)
    assert {finding.fault for finding in check(data)[0]} == {fault}
    repaired, examined = check(data, Treatment.REPAIR)
    assert repaired
    assert examined.left == 0
    assert check(data)[0] == []


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("DELETE FROM version WHERE instance_id = (SELECT min(id) FROM instance)", Fault.VERSION_UNINDEXED),
        ("DELETE FROM instance", Fault.VERSION_UNINDEXED),
        ("UPDATE version SET digest = x'00'", Fault.VERSION_UNINDEXED),
        ('UPDATE "range" SET "offset" = "offset" + 1', Fault.VERSION_UNINDEXED),
        ('UPDATE "range" SET "offset" = 1 << 40', Fault.RANGE_OUTSIDE),
        ("UPDATE version SET number = number + 7", Fault.VERSION_UNKNOWN),
        ("DELETE FROM study", Fault.ROW_ASTRAY),
        ("DELETE FROM object", Fault.VERSION_INCOMPLETE),
    ],
)
def test_an_index_that_is_not_what_the_segments_say_is_found_and_made_anew(
    data: Path, statement: str, fault: Fault
) -> None:
    damage(data, statement)
    found, _ = check(data, Treatment.REPAIR)
    assert fault in {finding.fault for finding in found}
    index_file.rebuild(data)
    assert check(data)[0] == []


def test_files_that_are_gone_or_cut_are_named(data: Path) -> None:
    (large,) = (data / "files").glob("*/*.dcm")
    large.unlink()
    segment = max((data / "segments").iterdir(), key=lambda path: path.stat().st_size)
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - 10)
    found, _ = check(data)
    assert {(Fault.OBJECT_MISSING, str(large.relative_to(data))), (Fault.OBJECT_RESIZED, segment.name)} <= {
        (finding.fault, finding.place) for finding in found
    }


def test_a_file_that_no_commit_names_is_counted(data: Path) -> None:
    folder = next((data / "files").iterdir())
    (folder / "left.dcm").write_bytes(b"left by a process that died")
    found, examined = check(data)
    assert found == []
    assert (examined.unnamed, examined.unnamed_bytes) == (1, 27)


def test_without_an_index_it_says_what_to_do(data: Path) -> None:
    for path in data.glob(f"{INDEX}*"):
        path.unlink()
    with pytest.raises(DamagedError, match="index rebuild"):
        check(data)
