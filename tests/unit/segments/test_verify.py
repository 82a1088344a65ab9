"""`audit verify` names whatever was changed, and says what it cannot prove."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagerepo.adapters.index_sql.engine import INDEX
from imagerepo.adapters.segments import anchor
from imagerepo.adapters.segments.verify import verify
from imagerepo.errors import DamagedError
from imagerepo.processes import journal as process
from imagerepo.settings import Audit, Settings, Storage
from tests.harness import segment_editor
from tests.harness.archive import in_segments
from tests.harness.dicom_file import ct
from tests.harness.requests import journal, store
from tests.harness.segment_editor import Found

SMALL = Storage(reserve=0, segment_size=1 << 20)


def filled(data: Path) -> None:
    """Three segments of one writer, one of the other, two institutions."""
    with in_segments(data, SMALL) as archive:
        for number in range(12):
            archive.commits.commit([store(ct(number, size=250_000)), journal(query=f"q{number}"), journal(query="x")])
            archive.other.commit([journal(institution="other", query=str(number))])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    filled(tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(scope="module")
def kept() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        filled(Path(folder) / "data")
        yield Path(folder) / "data"


def commit(data: Path, segment: int, number: int) -> Found:
    return segment_editor.commits(segment_editor.segments(data)[segment])[number]


def lines_of(found: Found) -> list[bytes]:
    return found.body.split(b"\n")


def broken(data: Path, *, with_bytes: bool = False) -> str:
    with pytest.raises(DamagedError) as error:
        verify(data, with_bytes=with_bytes)
    return str(error.value)


def test_a_sound_journal_is_sound_and_every_entry_counted(data: Path) -> None:
    report = verify(data, with_bytes=True)
    assert (report.entries, len(report.chains)) == (48, 2)
    assert len(segment_editor.segments(data)) >= 4


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_byte_changed_in_any_commit_record_is_found(kept: Path, data: st.DataObject) -> None:
    found = data.draw(
        st.sampled_from([one for path in segment_editor.segments(kept) for one in segment_editor.commits(path)])
    )
    offset = data.draw(st.integers(found.record.offset, found.record.end - 1))
    mask = data.draw(st.integers(1, 255))
    segment_editor.flip(found.path, offset, mask)
    try:
        with pytest.raises(DamagedError):
            verify(kept)
    finally:
        segment_editor.flip(found.path, offset, mask)


@pytest.mark.parametrize("number", [0, 1, -1])
@pytest.mark.parametrize("segment", [0, 1, 2])
@pytest.mark.parametrize("line", [0, 1, 2, 3])
def test_a_line_changed_under_a_sound_checksum_is_found(data: Path, segment: int, number: int, line: int) -> None:
    def change(body: bytes) -> bytes:
        kept = body.split(b"\n")
        fields = json.loads(kept[line])
        fields["commit"] += 1000
        kept[line] = json.dumps(fields).encode()
        return b"\n".join(kept)

    segment_editor.forge(commit(data, segment, number), change)
    assert "one-" in broken(data) or "chain" in broken(data)


@pytest.mark.parametrize("number", [0, 1, -1])
def test_another_caller_under_a_sound_checksum_is_found(data: Path, number: int) -> None:
    segment_editor.forge(commit(data, -2, number), lambda body: body.replace(b"ae:TEST", b"ae:EVIL", 1))
    assert "chain default/one" in broken(data)


@pytest.mark.parametrize("line", [1, 2, 3])
@pytest.mark.parametrize("number", [0, 1, -1])
def test_a_removed_line_is_found(data: Path, number: int, line: int) -> None:
    def change(body: bytes) -> bytes:
        kept = body.split(b"\n")
        del kept[line]
        return b"\n".join(kept)

    segment_editor.forge(commit(data, 0, number), change)
    assert "chain default/one" in broken(data)


def test_swapped_lines_are_found(data: Path) -> None:
    def change(body: bytes) -> bytes:
        head, first, second, *rest = body.split(b"\n")
        return b"\n".join([head, second, first, *rest])

    segment_editor.forge(commit(data, 0, 1), change)
    assert "chain default/one goes from" in broken(data)


def test_a_line_said_twice_is_found(data: Path) -> None:
    segment_editor.forge(commit(data, 0, 1), lambda body: body + b"\n" + body.split(b"\n")[-1])
    assert "chain default/one goes from" in broken(data)


def test_a_commit_declared_void_is_found(data: Path) -> None:
    void = commit(data, 0, 1).record.number
    segment_editor.forge(commit(data, 1, 0), lambda body: body.replace(b'"voids":[]', b'"voids":[%d]' % void))
    assert "chain default/one goes from" in broken(data)


def test_a_cut_tail_is_found(data: Path) -> None:
    last = commit(data, -2, -1)
    os.truncate(last.path, last.record.offset)
    assert "its end was cut off" in broken(data)


@pytest.mark.parametrize("segment", [0, 1, -2, -1])
def test_a_deleted_segment_is_found(data: Path, segment: int) -> None:
    segment_editor.segments(data)[segment].unlink()
    assert "chain" in broken(data)


def test_a_segment_under_another_name_is_found(data: Path) -> None:
    path = segment_editor.segments(data)[-1]
    path.rename(path.with_name("six-00000001.seg"))
    assert "six-00000001" in broken(data) or "chain" in broken(data)


def test_changed_pixels_are_found_when_bytes_are_compared(data: Path) -> None:
    path = segment_editor.segments(data)[0]
    segment_editor.flip(path, path.read_bytes().index(ct(1, size=250_000).pixels) + 1000)
    verify(data)
    assert "ct" not in broken(data, with_bytes=True)
    assert ct(1).instance in broken(data, with_bytes=True)


def rewrite_all(data: Path) -> None:
    """What somebody can do who may change everything in the folder: another caller, and all links made anew."""
    previous = ""
    for path in segment_editor.segments(data):
        if not path.name.startswith("one-"):
            continue
        for number in range(len(segment_editor.commits(path))):
            found = segment_editor.commits(path)[number]
            head, *journal_lines = lines_of(found)
            made = [head]
            for line in journal_lines:
                fields = json.loads(line)
                fields["caller"] = "ae:EVIL"
                if previous:
                    fields["prev"] = previous
                made.append(json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode())
                previous = blake3(made[-1]).hexdigest()
            segment_editor.forge(found, lambda _, made=made: b"\n".join(made))


def drop_index(data: Path) -> None:
    for path in data.glob(f"{INDEX}*"):
        path.unlink()


@pytest.fixture
def anchored(data: Path, tmp_path: Path) -> Settings:
    """Settings with an anchor, and one root in it."""
    (tmp_path / "anchor").mkdir()
    (tmp_path / "key.pem").write_text(anchor.new_key())
    made = Settings(data=data, audit=Audit(anchor=tmp_path / "anchor", key=tmp_path / "key.pem"))
    process.Anchorer(made, data).tick(now=True)
    return made


def test_a_chain_written_anew_is_found_by_the_index(data: Path) -> None:
    rewrite_all(data)
    assert "not the one that the index has seen" in broken(data)


def test_a_chain_written_anew_with_its_index_is_found_by_its_roots_and_else_called_unanchored(
    data: Path, anchored: Settings
) -> None:
    assert "anchored: all 2 signed roots" in process.as_text(process.verify(anchored, with_bytes=False))
    rewrite_all(data)
    drop_index(data)
    with pytest.raises(DamagedError, match="not the one that was signed"):
        process.verify(anchored, with_bytes=False)
    assert "unanchored" in process.as_text(process.verify(Settings(data=data), with_bytes=False))


def test_a_tail_cut_off_with_its_index_is_found_by_its_roots(data: Path, anchored: Settings) -> None:
    last = commit(data, -2, -1)
    os.truncate(last.path, last.record.offset)
    drop_index(data)
    with pytest.raises(DamagedError, match="cut off or written anew"):
        process.verify(anchored, with_bytes=False)
    assert "unanchored" in process.as_text(process.verify(Settings(data=data), with_bytes=False))


def test_a_changed_root_is_found(data: Path, anchored: Settings, tmp_path: Path) -> None:
    path = tmp_path / "anchor" / "roots.jsonl"
    path.write_text(path.read_text().replace("48", "47").replace("36", "35"))
    with pytest.raises(DamagedError, match="signature of line 1"):
        process.verify(anchored, with_bytes=False)


def test_without_any_root_the_journal_is_called_unanchored(data: Path, anchored: Settings, tmp_path: Path) -> None:
    (tmp_path / "anchor" / "roots.jsonl").unlink()
    assert "unanchored" in process.as_text(process.verify(anchored, with_bytes=False))


def test_a_torn_last_commit_that_nobody_was_told_of_is_no_damage(data: Path) -> None:
    path = segment_editor.segments(data)[-2]
    with path.open("ab") as file:
        file.write(b"IRcommit" + bytes(100))
    verify(data)
    with in_segments(data, SMALL) as archive:
        archive.commits.commit([store(ct(99))])
    verify(data)


def test_the_journal_is_exported_in_order_of_commit(data: Path) -> None:
    exported = [json.loads(line) for line in process.export(Settings(data=data))]
    assert len(exported) == 48
    assert [one["commit"] for one in exported] == sorted(one["commit"] for one in exported)
