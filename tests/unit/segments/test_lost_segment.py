"""A segment is lost while the index that knows it stays: whatever is stored afterwards never takes its place."""

import shutil
from pathlib import Path

from imagerepo.adapters.index_sql.engine import INDEX
from imagerepo.model.events import Action
from tests.harness import segment_editor
from tests.harness.archive import in_segments
from tests.harness.dicom_file import ct
from tests.harness.requests import change, store
from tests.unit.segments.test_deletion import reclaim

LOST = [ct(number, study=1, size=9000) for number in range(4)]
KEPT = ct(9, study=2, size=9000)


def lose_a_segment(data: Path) -> None:
    with in_segments(data) as archive:
        archive.commits.commit([store(one) for one in LOST])
    (path,) = segment_editor.segments(data)
    path.unlink()


def test_deleting_what_was_lost_takes_nothing_from_what_was_stored_since(tmp_path: Path) -> None:
    lose_a_segment(tmp_path)
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(KEPT)])
        archive.commits.commit([store(one) for one in (ct(10, study=3, size=60_000),)])
        archive.other.commit([change(Action.DELETE, 1)])
        reclaim(tmp_path)
        assert archive.bytes_of(KEPT.instance) == KEPT.part10


def test_what_was_acknowledged_since_comes_back_after_a_crash(tmp_path: Path) -> None:
    lose_a_segment(tmp_path)
    before = tmp_path / "before"
    with in_segments(tmp_path):
        pass
    shutil.copy(tmp_path / INDEX, before)
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(KEPT)])
    for path in tmp_path.glob(f"{INDEX}*"):
        path.unlink()
    before.rename(tmp_path / INDEX)  # as if its rows had never been written
    with in_segments(tmp_path) as archive:
        assert archive.bytes_of(KEPT.instance) == KEPT.part10
