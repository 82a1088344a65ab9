"""A segment whose header is damaged: its records tell the seal, and nothing else is lost with it."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from imagerepo.adapters.segments import catalog
from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments.catalog import Condition
from imagerepo.adapters.segments.format import RECORD_HEADER, SEGMENT_HEADER, Kind
from imagerepo.adapters.segments.verify import verify
from imagerepo.errors import DamagedError, NotFoundError
from imagerepo.model import checksum
from imagerepo.processes import journal as process
from imagerepo.settings import Settings
from tests.harness import segment_editor
from tests.harness.archive import in_segments
from tests.harness.dicom_file import DicomFile, ct
from tests.harness.requests import journal, store

FILES = [ct(number) for number in range(6)]
SECTOR = 4096  # bytes


def filled(data: Path, files: list[DicomFile] = FILES) -> Path:
    """A segment of each writer; the first is returned."""
    with in_segments(data) as archive:
        for file in files[:-1]:
            archive.commits.commit([store(file), journal(query="q")])
        archive.other.commit([store(files[-1])])
    return segment_editor.segments(data)[0]


def drop_index(data: Path) -> None:
    for path in data.glob("index.sqlite*"):
        path.unlink()


def overwrite(path: Path, content: bytes, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


def zeros(path: Path) -> None:
    overwrite(path, bytes(SEGMENT_HEADER))


def noise(path: Path) -> None:
    overwrite(path, b"\xa5" * SEGMENT_HEADER)


def one_bit_of_the_seal(path: Path) -> None:
    segment_editor.flip(path, 36, 1)


def the_version(path: Path) -> None:
    segment_editor.flip(path, 8)


def a_sector(path: Path) -> None:
    """The header, and with it that of the first record."""
    overwrite(path, b"\xa5" * SECTOR)


HEADER_ALONE = [zeros, noise, one_bit_of_the_seal, the_version]


@pytest.mark.parametrize("damage", HEADER_ALONE)
def test_all_of_a_segment_is_served_though_its_header_is_damaged(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    path = filled(tmp_path)
    damage(path)
    drop_index(tmp_path)
    with caplog.at_level(logging.ERROR), in_segments(tmp_path) as archive:
        for file in FILES:
            assert archive.bytes_of(file.instance) == file.part10
        archive.commits.commit([store(ct(50))])
    assert "segment.header_damaged" in caplog.messages


def test_records_after_a_damaged_sector_are_served(tmp_path: Path) -> None:
    path = filled(tmp_path, [ct(number, size=2 * SECTOR) for number in range(6)])
    a_sector(path)
    drop_index(tmp_path)
    with in_segments(tmp_path) as archive:
        # The first instance has lost bytes; its commit, and its name with it, is whole.
        assert archive.index.holdings()["default"].instances == 6
        for number in range(1, 6):
            file = ct(number, size=2 * SECTOR)
            assert archive.bytes_of(file.instance) == file.part10


@pytest.mark.parametrize("damage", [*HEADER_ALONE, a_sector])
def test_a_start_behind_a_damaged_header_goes_on_from_where_the_index_was(
    tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1, size=2 * SECTOR))])
        old = {path: path.read_bytes() for path in tmp_path.glob("index.sqlite*")}
        archive.commits.commit([store(ct(2))])
    drop_index(tmp_path)
    for path, content in old.items():
        path.write_bytes(content)
    damage(segment_editor.segments(tmp_path)[0])
    with in_segments(tmp_path) as archive:
        assert archive.bytes_of(ct(2).instance) == ct(2).part10


@pytest.mark.parametrize("damage", HEADER_ALONE)
@pytest.mark.parametrize("with_bytes", [False, True])
def test_verifying_reports_the_header_after_looking_at_all_else(
    tmp_path: Path, damage: Callable[[Path], None], *, with_bytes: bool
) -> None:
    path = filled(tmp_path)
    damage(path)
    report = verify(tmp_path, with_bytes=with_bytes)
    assert (report.entries, len(report.chains)) == (11, 2)
    assert len(report.damage) == 1
    with pytest.raises(DamagedError, match=f"{path.name}: the header is damaged.*nothing else is broken"):
        process.verify(Settings(data=tmp_path), with_bytes=with_bytes)


def test_a_broken_link_behind_a_damaged_header_is_named_with_it(tmp_path: Path) -> None:
    path = filled(tmp_path)
    segment_editor.forge(segment_editor.commits(path)[2], lambda body: body.replace(b"ae:TEST", b"ae:EVIL", 1))
    noise(path)
    with pytest.raises(DamagedError, match=r"the header is damaged.*chain default/one is broken"):
        process.verify(Settings(data=tmp_path), with_bytes=False)


def test_a_segment_without_any_record_that_can_be_read_is_reported_and_the_others_are_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = filled(tmp_path)
    overwrite(path, b"\xa5" * path.stat().st_size)
    drop_index(tmp_path)
    with caplog.at_level(logging.ERROR), in_segments(tmp_path) as archive:
        assert archive.bytes_of(FILES[-1].instance) == FILES[-1].part10
        with pytest.raises(NotFoundError):
            archive.bytes_of(FILES[0].instance)
    assert "segment.lost" in caplog.messages
    with pytest.raises(DamagedError, match=f"{path.name}: .* is lost"):
        process.verify(Settings(data=tmp_path), with_bytes=False)


def test_a_flush_that_failed_stays_void_though_the_segment_that_says_so_has_a_damaged_header(tmp_path: Path) -> None:
    path = filled(tmp_path)
    void = segment_editor.commits(path)[-1].record.number
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(70))])
    later = segment_editor.segments(tmp_path)[1]
    segment_editor.forge(
        segment_editor.commits(later)[0], lambda body: body.replace(b'"voids":[]', b'"voids":[%d]' % void)
    )
    noise(later)
    drop_index(tmp_path)
    with in_segments(tmp_path) as archive:
        assert archive.bytes_of(ct(70).instance)
        with pytest.raises(NotFoundError):
            archive.bytes_of(FILES[-2].instance)


def test_a_file_that_is_none_of_ours_is_passed_over(tmp_path: Path) -> None:
    filled(tmp_path)
    (tmp_path / "segments" / "copy.seg").write_bytes(b"notes")
    with in_segments(tmp_path) as archive:
        assert archive.bytes_of(FILES[0].instance)
    assert verify(tmp_path).damage == []


def forged(seal: bytes, instance: str) -> bytes:
    """A commit as a sender may hide it in an upload, under a seal that it chose."""
    line = {"action": "store", "institution": "victim", "instance": instance}
    body = json.dumps({"commit": 9, "writer": "one", "voids": []}).encode() + b"\n" + json.dumps(line).encode()
    return segment_format.record_header(Kind.COMMIT, seal, len(body), 9, checksum.crc32(body, 0)) + body


def test_a_seal_that_a_sender_made_up_is_not_taken_for_the_segments_own(tmp_path: Path) -> None:
    path = filled(tmp_path)
    own = segment_editor.seal(path)
    hidden = forged(b"guessed?", "6.6.6")
    at = FILES[0].part10.index(FILES[0].pixels)
    overwrite(path, hidden[: len(FILES[0].pixels)], SEGMENT_HEADER + RECORD_HEADER + at)
    assert b"guessed?" in path.read_bytes()
    overwrite(path, b"\xa5" * (SEGMENT_HEADER + RECORD_HEADER))
    found = catalog.examine(path)
    assert (found.condition, found.seal) == (Condition.HEADER_DAMAGED, own)


def test_forged_lengths_do_not_keep_recovery_from_ending(tmp_path: Path) -> None:
    path = filled(tmp_path)
    own = segment_editor.seal(path)
    whole = path.read_bytes()
    long = segment_format.record_header(Kind.DATA, b"guessed?", len(whole) // 2, 0, 1)
    rest = whole[SEGMENT_HEADER + RECORD_HEADER :]
    path.write_bytes(b"\xa5" * (SEGMENT_HEADER + RECORD_HEADER) + rest + long * 5000)
    assert catalog.examine(path).seal == own
