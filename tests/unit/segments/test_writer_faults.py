"""Disks that fail: nothing is acknowledged that is not durable, and what comes after is not hurt."""

import itertools
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagerepo.adapters.index_sql.engine import INDEX
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.format import Kind, record_header
from imagerepo.adapters.segments.verify import verify
from imagerepo.errors import NotFoundError, OutOfSpaceError, UnavailableError
from imagerepo.model.events import CommitKind
from imagerepo.model.instance import Range
from imagerepo.model.scope import Scope
from imagerepo.settings import Storage
from tests.harness import segment_editor
from tests.harness.archive import Archive, in_segments
from tests.harness.dicom_file import DicomFile, ct
from tests.harness.requests import journal, store


def descriptor(archive: Archive) -> int:
    found = archive.commits._batch._writer._segment  # type: ignore[attr-defined]
    assert found is not None
    return found.file.descriptor


@contextmanager
def flush_fails(archive: Archive) -> Iterator[None]:
    """Have the segment's descriptor lead to a device that takes every byte and cannot be flushed."""
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, descriptor(archive))
    os.close(null)
    yield


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """EFBIG, as on a full disk: a write is cut at `size`, the next one fails."""
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


def drop_index(data: Path) -> None:
    for path in data.glob(f"{INDEX}*"):
        path.unlink()


def commit_body_of(file, number: int, link: lines.Link, where: Range) -> bytes:
    return lines.commit_body(number, "one", [], [lines.store_line(store(file), 1, (where,), number, link)])


def fail_to_flush_what_lands(archive: Archive, data: Path, file: DicomFile) -> None:
    """Commit `file` second and fail to flush it, though the kernel has written all of it."""
    link = archive.commits._batch._links["default"]  # type: ignore[attr-defined]
    with flush_fails(archive):
        archive.commits.commit([store(file)])
    segment = segment_editor.segments(data)[0]
    where = segment_editor.append_data(segment, file.part10)
    segment_editor.append(segment, 2, commit_body_of(file, 2, link, where))


def test_a_failed_flush_fails_its_waiters_and_retires_the_segment(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1))])
        with flush_fails(archive):
            results = archive.commits.commit([store(ct(2)), store(ct(3))])
        assert [one.kind for one in results] == [CommitKind.FAILED] * 2
        assert all(isinstance(one.error, UnavailableError) for one in results)
        with pytest.raises(NotFoundError):
            archive.bytes_of(ct(2).instance)
        (again,) = archive.commits.commit([store(ct(2))])
        assert (again.kind, again.version) == (CommitKind.STORED, 1)
        assert len(segment_editor.segments(tmp_path)) == 2
    verify(tmp_path)


def test_what_a_failed_flush_left_in_its_segment_never_becomes_visible(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1))])
        fail_to_flush_what_lands(archive, tmp_path, ct(2))
        archive.commits.commit([store(ct(3))])
    for _ in range(2):
        with in_segments(tmp_path) as archive:
            with pytest.raises(NotFoundError):
                archive.bytes_of(ct(2).instance)
            assert archive.bytes_of(ct(3).instance) == ct(3).part10
            verify(tmp_path)
        drop_index(tmp_path)


def test_voids_are_heeded_behind_half_a_commit(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1))])
        fail_to_flush_what_lands(archive, tmp_path, ct(2))
        writer = archive.commits._batch._writer  # type: ignore[attr-defined]
        writer.prepare()
        segment = writer._segment
        half = record_header(Kind.COMMIT, segment.seal, 500, 3, 0) + bytes(500)
        segment.file.write_all([half], segment.end)
        segment.end += len(half)
        archive.commits.commit([store(ct(4))])
    drop_index(tmp_path)
    with in_segments(tmp_path) as archive:
        with pytest.raises(NotFoundError):
            archive.bytes_of(ct(2).instance)
        assert archive.bytes_of(ct(4).instance) == ct(4).part10


def test_a_disk_that_fills_within_an_instance_loses_nothing_that_comes_later(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1))])
        with files_no_larger_than(200_000):
            (full,) = archive.commits.commit([store(ct(2, size=1 << 20))])
        assert full.kind is CommitKind.FAILED
        assert isinstance(full.error, OutOfSpaceError)
        for number in range(3, 40):
            archive.commits.commit([store(ct(number, size=100_000))])
    verify(tmp_path)
    drop_index(tmp_path)
    with in_segments(tmp_path) as archive:
        assert archive.index.holdings()["default"].instances == 38
        assert archive.bytes_of(ct(3).instance) == ct(3, size=100_000).part10


@pytest.mark.parametrize("room", range(0, 1200, 90))
def test_a_disk_that_fills_within_a_commit_loses_nothing_that_comes_later(tmp_path: Path, room: int) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1))])
        size = os.fstat(descriptor(archive)).st_size
        index = (tmp_path / f"{INDEX}-wal").stat().st_size
        with files_no_larger_than(max(size + 2048 + room, index if room > 900 else 0)):
            (first,) = archive.commits.commit([store(ct(2))])
        (second,) = archive.commits.commit([store(ct(3))])
        assert second.kind is CommitKind.STORED
        (again,) = archive.commits.commit([store(ct(2))])
        assert again.version == 1
    verify(tmp_path)
    drop_index(tmp_path)
    with in_segments(tmp_path) as archive:
        assert archive.index.holdings()["default"].instances == 3
    del first


def test_a_place_that_was_taken_and_never_written_is_no_damage(tmp_path: Path) -> None:
    """Its sender's thread was slower than two commits, then the process was killed."""
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1))])
        archive.commits._batch._writer._segment.end += 300_000  # type: ignore[attr-defined]
        archive.commits.commit([store(ct(2))])
        archive.commits.commit([store(ct(3))])
    assert verify(tmp_path, with_bytes=True).entries == 3
    drop_index(tmp_path)
    with in_segments(tmp_path) as archive:
        assert archive.index.holdings()["default"].instances == 3


def test_a_disk_that_fills_again_and_again_under_many_senders_loses_nothing(tmp_path: Path) -> None:
    acknowledged: list[DicomFile] = []
    done = threading.Event()

    def send(sender: int) -> None:
        for number in itertools.count(sender * 10_000 + 1):
            file = ct(number, size=(20_000, 200_000, 600_000)[number % 3])
            (result,) = archive.commits.commit([store(file)])
            if result.kind is CommitKind.STORED:
                acknowledged.append(file)
            if done.is_set():
                return

    with in_segments(tmp_path) as archive:
        with ThreadPoolExecutor(4) as pool:
            for sender in range(4):
                pool.submit(send, sender)
            for _ in range(15):
                largest = max(path.stat().st_size for path in [tmp_path / INDEX, *tmp_path.glob("segments/*")])
                with files_no_larger_than(largest + 700_000):
                    time.sleep(0.05)
                time.sleep(0.02)
            done.set()
        assert len(acknowledged) > 20
        for file in acknowledged:
            assert archive.bytes_of(file.instance) == file.part10
    verify(tmp_path, with_bytes=True)
    drop_index(tmp_path)
    with in_segments(tmp_path) as archive:
        for file in acknowledged:
            assert archive.bytes_of(file.instance) == file.part10


def test_a_spool_on_a_full_disk_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    with in_segments(tmp_path) as archive:
        spool = archive.commits.spool()
        with files_no_larger_than(100_000), pytest.raises(OutOfSpaceError):
            spool.write(bytes(1 << 20))
        spool.discard()
        assert not list(tmp_path.glob("files/*/*"))


def test_a_reserve_that_is_reached_refuses_bytes_and_takes_journal_entries(tmp_path: Path) -> None:
    with in_segments(tmp_path, Storage(reserve=1 << 50)) as archive:
        assert not archive.commits.accepts()
        results = archive.commits.commit([journal(query="x")])
        assert results[0].kind is CommitKind.JOURNALED
        (full,) = archive.commits.commit([store(ct(1))])
        assert isinstance(full.error, OutOfSpaceError)


def scope(file):
    return Scope("default", study_uid=file.study)
