"""The cache of DICOM JSON takes a part of the disk and no more, and never stands in the way of a read."""

import random
import resource
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from imagerepo.adapters.index_sql import metadata_cache
from imagerepo.adapters.index_sql.metadata_cache import FILE, Room, SqlMetadataCache
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from tests.harness.archive import in_segments
from tests.harness.dicom_file import ct
from tests.harness.requests import store

MEGABYTE = 1 << 20


@pytest.fixture
def version(tmp_path: Path) -> Version:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(1))])
        return archive.index.version(Scope("default", instance_uid=ct(1).instance))  # type: ignore[arg-type]


def entry(version: Version, number: int, size: int = 10_000) -> tuple[Version, bytes]:
    return replace(version, digest=number.to_bytes(32, "big")), random.Random(number).randbytes(size)


def test_what_was_kept_first_makes_room_and_what_came_last_is_there(tmp_path: Path, version: Version) -> None:
    cache = SqlMetadataCache(tmp_path, Room(MEGABYTE, 0))
    entries = [entry(version, number) for number in range(500)]
    for start in range(0, 500, 10):
        cache.put(entries[start : start + 10])
    found = cache.get([one for one, _ in entries])
    assert found[-30:] == [frame for _, frame in entries[-30:]]
    kept = sum(frame is not None for frame in found)
    assert 30 <= kept <= 105
    assert (tmp_path / FILE).stat().st_size < 1.5 * MEGABYTE


def test_a_frame_that_would_take_most_of_the_room_is_not_kept(tmp_path: Path, version: Version) -> None:
    cache = SqlMetadataCache(tmp_path, Room(MEGABYTE, 0))
    small, large = entry(version, 1), entry(version, 2, MEGABYTE)
    cache.put([small, large])
    assert cache.get([small[0], large[0]]) == [small[1], None]


def test_below_the_disks_reserve_nothing_is_added_and_what_is_there_is_read(tmp_path: Path, version: Version) -> None:
    first, second = entry(version, 1), entry(version, 2)
    SqlMetadataCache(tmp_path, Room(MEGABYTE, 0)).put([first])
    cache = SqlMetadataCache(tmp_path, Room(MEGABYTE, 1 << 62))
    cache.put([second])
    assert cache.get([first[0], second[0]]) == [first[1], None]


def test_a_write_that_fails_fails_no_read(tmp_path: Path, version: Version) -> None:
    cache = SqlMetadataCache(tmp_path, Room(1 << 30, 0))
    first = entry(version, 1)
    cache.put([first])
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        cache.put([entry(version, number, 50_000) for number in range(2, 20)])
        assert cache.get([first[0]]) == [first[1]]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    cache.put([entry(version, 30)])
    assert cache.get([entry(version, 30)[0]]) == [entry(version, 30)[1]]


@pytest.mark.parametrize("part", ["beginning", "middle"])
def test_a_damaged_cache_is_empty_and_made_anew_by_the_next_start(tmp_path: Path, version: Version, part: str) -> None:
    entries = [entry(version, number) for number in range(50)]
    SqlMetadataCache(tmp_path, Room(1 << 30, 0)).put(entries)
    opened = metadata_cache._open(tmp_path / FILE)
    opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    opened.close()
    size = (tmp_path / FILE).stat().st_size
    with (tmp_path / FILE).open("r+b") as file:
        file.seek(0 if part == "beginning" else 4096)
        file.write(b"\xa5" * (size - 4096))
    cache = SqlMetadataCache(tmp_path, Room(1 << 30, 0))
    assert cache.get([one for one, _ in entries]) == [None] * 50
    cache.put(entries)
    with in_segments(tmp_path) as archive:
        archive.cache.put(entries)
        assert archive.cache.get([one for one, _ in entries]) == [frame for _, frame in entries]


def test_the_share_is_a_part_of_the_disk(tmp_path: Path) -> None:
    room = Room.on_disk_of(tmp_path, 7)
    assert 0 < room.most < 1 << 50
    assert room.reserve == 7
