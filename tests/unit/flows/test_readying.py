"""flows.readying: what is made ahead is what demand would have made, and it stands back when it should."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from imagerepo.flows import readying
from imagerepo.flows.metadata import Metadata
from imagerepo.flows.readying import Readying
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from tests.harness.archive import Archive, in_segments
from tests.harness.dicom_file import DicomFile, ct
from tests.harness.requests import store


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with in_segments(tmp_path / "data") as opened:
        yield opened


def retrieve(archive: Archive) -> Retrieve:
    return Retrieve(archive.index, archive.objects)


def metadata(archive: Archive) -> Metadata:
    return Metadata(retrieve(archive), archive.cache)


def made_ready(archive: Archive) -> Readying:
    """One that has seen all arrivals: the next look finds quiet."""
    one = Readying(archive.index, retrieve(archive), metadata(archive), lambda: True)
    one.look()
    return one


def version(archive: Archive, file: DicomFile, institution: str = "default", number: int | None = None) -> Version:
    return archive.index.version(Scope(institution, instance_uid=file.instance, version=number))


def kept(archive: Archive, file: DicomFile, institution: str = "default") -> bytes | None:
    (frame,) = archive.cache.get([version(archive, file, institution)])
    return frame


def run(one: Readying) -> None:
    for _ in range(readying.LATER):
        if one.look():
            while one.make():
                pass


def test_what_is_made_ahead_is_what_demand_makes(archive: Archive, tmp_path: Path) -> None:
    files = [ct(number) for number in range(1, 8)]
    archive.commits.commit([store(file) for file in files])
    archive.other.commit([store(ct(9, study=9), "other")])
    run(made_ready(archive))
    with in_segments(tmp_path / "fresh") as fresh:
        fresh.commits.commit([store(file) for file in files])
        for file in files:
            ahead, demanded = metadata(archive).one(version(archive, file), "u"), metadata(fresh)
            assert kept(archive, file) is not None
            assert kept(fresh, file) is None
            assert ahead == demanded.one(version(fresh, file), "u")
            assert json.loads(ahead)["00080018"]["Value"] == [file.instance]
    assert kept(archive, ct(9, study=9), "other") is not None


def test_each_version_has_its_own(archive: Archive) -> None:
    archive.commits.commit([store(ct(1))])
    run(made_ready(archive))
    archive.commits.commit([store(ct(1, variant=1)), store(ct(2))])
    run(made_ready(archive))
    first, second = version(archive, ct(1), number=1), version(archive, ct(1), number=2)
    assert None not in archive.cache.get([first, second])
    assert metadata(archive).one(second, "u") == metadata(archive).of([second], ["u"]).texts[0]


def test_whoever_begins_anew_goes_on_where_another_ended(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readying, "_BATCH", 2)
    files = [ct(number) for number in range(1, 8)]
    archive.commits.commit([store(file) for file in files])
    ended = made_ready(archive)
    assert ended.look()
    assert ended.make()
    assert [kept(archive, file) is not None for file in files] == [True, True, *[False] * 5]
    run(made_ready(archive))
    assert all(kept(archive, file) for file in files)


def test_nothing_is_made_while_much_arrives(archive: Archive) -> None:
    one = made_ready(archive)
    archive.commits.commit([store(ct(number)) for number in range(1, 30)])
    assert not one.look()
    assert one.look()


def test_nothing_is_made_while_the_disk_is_full(archive: Archive) -> None:
    archive.commits.commit([store(ct(1))])
    room = [False]
    one = Readying(archive.index, retrieve(archive), metadata(archive), lambda: room[0])
    assert not one.look()
    room[0] = True
    assert one.look()


def test_only_the_latest_arrivals_are_looked_back_upon(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readying, "BACKLOG", 3)
    files = [ct(number) for number in range(1, 8)]
    archive.commits.commit([store(file) for file in files])
    run(made_ready(archive))
    assert [kept(archive, file) is not None for file in files] == [*[False] * 4, *[True] * 3]


def test_what_cannot_be_read_is_left_to_demand_and_holds_nothing_up(archive: Archive, tmp_path: Path) -> None:
    archive.commits.commit([store(ct(1))])
    archive.other.commit([store(ct(2))])
    (where,) = version(archive, ct(1)).copy.ranges
    (tmp_path / "data" / where.key).rename(tmp_path / "lost")
    run(made_ready(archive))
    assert kept(archive, ct(1)) is None
    assert kept(archive, ct(2)) is not None


def test_what_has_just_arrived_is_brought_into_memory_up_to_a_bound(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readying, "WARMED", 20 << 20)  # else a gigabyte would have to be stored
    files = [ct(number, size=9 << 20) for number in range(1, 7)]  # a read brings some of what follows
    one = made_ready(archive)
    archive.commits.commit([store(file) for file in files])
    for segment in (tmp_path / "data" / "segments").iterdir():
        with segment.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    run(one)
    assert [at_hand(archive, file) for file in (*files[:2], files[-1])] == [True, True, False]


def at_hand(archive: Archive, file: DicomFile) -> bool:
    (where,) = version(archive, file).copy.ranges
    middle = replace(where, offset=where.offset + (8 << 20), length=4096)
    return archive.objects.read_at_hand(middle, memoryview(bytearray(4096)))
