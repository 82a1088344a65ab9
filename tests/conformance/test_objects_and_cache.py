"""ports.objects.Objects and ports.index.MetadataCache."""

import time
from dataclasses import replace

import pytest

from imagerepo.errors import DamagedError
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.model.uids import Uid
from tests.harness.archive import Archive
from tests.harness.dicom_file import ct
from tests.harness.requests import store


@pytest.fixture
def version(archive: Archive) -> Version:
    archive.commits.commit([store(ct(1)), store(ct(2))])
    return archive.index.version(Scope("default", instance_uid=Uid(ct(1).instance)))


def test_any_range_of_an_object_can_be_read(archive: Archive, version: Version) -> None:
    whole, (where,) = ct(1).part10, version.copy.ranges
    for start, length in ((0, 10), (100, 1), (1000, 500), (len(whole) - 7, 7)):
        part = replace(where, offset=where.offset + start, length=length)
        assert archive.objects.read(part) == whole[start : start + length]
        room = bytearray(length)
        archive.objects.read_into(part, memoryview(room))
        assert room == whole[start : start + length]
        lent = archive.objects.lend(part)
        assert lent is None or lent == whole[start : start + length]
        at_hand = bytearray(length)
        assert not archive.objects.read_at_hand(part, memoryview(at_hand)) or at_hand == room


def test_an_object_that_is_missing_or_too_short_is_damaged(archive: Archive, version: Version) -> None:
    (where,) = version.copy.ranges
    for wrong in (replace(where, key="segments/none-00000001.seg"), replace(where, length=1 << 30)):
        with pytest.raises(DamagedError):
            archive.objects.read(wrong)
        with pytest.raises(DamagedError):
            archive.objects.read_into(wrong, memoryview(bytearray(4096)))
        archive.objects.expect([wrong])
        archive.objects.warm([wrong, where])
        assert archive.objects.lend(wrong) is None


def test_what_is_expected_comes_nearer_though_its_ends_are_there(archive: Archive) -> None:
    file = ct(21, size=512 << 10)  # of a size whose ends alone go through the page cache
    archive.commits.commit([store(file)])
    (where,) = archive.index.version(Scope("default", instance_uid=Uid(file.instance))).copy.ranges
    archive.objects.expect([where])
    middle = replace(where, offset=where.offset + (300 << 10), length=1)
    until = time.monotonic() + 10
    while not archive.objects.read_at_hand(middle, memoryview(bytearray(1))):
        assert time.monotonic() < until


def test_what_was_warmed_is_at_hand(archive: Archive) -> None:
    files = [ct(number, size=512 << 10) for number in range(11, 15)]  # of a size that goes past the page cache
    archive.commits.commit([store(file) for file in files])
    versions = [archive.index.version(Scope("default", instance_uid=Uid(file.instance))) for file in files]
    archive.objects.warm(where for one in versions for where in one.copy.ranges)
    for one in versions:
        (where,) = one.copy.ranges
        assert archive.objects.read_at_hand(where, memoryview(bytearray(where.length)))


def test_the_cache_gives_back_what_was_put_for_that_version_alone(archive: Archive, version: Version) -> None:
    other = archive.index.version(Scope("default", instance_uid=Uid(ct(2).instance)))
    assert list(archive.cache.get([version, other])) == [None, None]
    archive.cache.put([(version, b"frame")])
    archive.cache.put([(version, b"frame")])
    assert list(archive.cache.get([other, version])) == [None, b"frame"]
    assert list(archive.cache.get([])) == []
