"""What was stored singly becomes bundles once its series is quiet: the same bytes to whoever reads, in few objects."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from imagerepo.adapters.bundles import contents
from imagerepo.adapters.bundles.generation import Generation
from imagerepo.adapters.objects_s3.objects import S3Objects
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.adapters.postgres.tasks import PostgresTasks
from imagerepo.errors import DamagedError, NotFoundError
from imagerepo.flows.batches import Extent
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.upkeep import compaction
from imagerepo.flows.upkeep.compaction import Compacting
from imagerepo.model.events import Action
from imagerepo.model.instance import Range, Version
from imagerepo.model.scope import Scope
from imagerepo.model.task import Task, TaskKind
from imagerepo.model.uids import Uid
from imagerepo.ports.tasks import Selection
from imagerepo.settings_cluster import Store
from tests.harness import s3
from tests.harness.committing import Writing, writing
from tests.harness.compaction import (
    SERIES,
    STUDY,
    compact,
    compacted,
    compactor,
    has,
    is_sound,
    listed,
    overwrite,
    reclaim,
    store_singly,
)
from tests.harness.dicom_file import ct
from tests.harness.requests import caller, change, store
from tests.testbed.shared import shared_bed

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def settings(tmp_path: Path) -> Store:
    return s3.settings(shared_bed(), tmp_path)


@pytest.fixture
def one(url: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    with writing(url, settings, tmp_path, "one") as made:
        yield made
        s3.empty(made.store, "default")


def test_what_came_singly_lies_in_one_object_and_the_others_go(one: Writing) -> None:
    files = [ct(number) for number in range(30)]
    store_singly(one, files)
    assert len(listed(one)) == 30
    assert compact(one) == {}
    assert one.rows("SELECT live FROM object WHERE live > 0") == [(30,)]
    assert has(one, files)
    reclaim(one)
    (key,) = listed(one)
    assert has(one, files)
    assert is_sound(one)
    one.journal.verify(with_bytes=True)
    assert compact(one) == {}
    assert listed(one) == [key]


def test_a_compacted_object_says_what_each_version_is(one: Writing) -> None:
    """Whoever makes the index anew from objects alone goes by it."""
    store_singly(one, [ct(1), ct(2), ct(1, variant=1), ct(3)])
    compact(one)
    ((bucket, key, size),) = one.rows("SELECT store, key, size FROM object WHERE live > 0")
    found = contents.of(one.store.fetch, bucket, key, size)
    assert found.head.writer == "compacted"
    rows = one.rows(
        "SELECT i.uid, v.number, v.commit_number FROM version v JOIN instance i ON i.id = v.instance_id "
        "ORDER BY i.id, 2"
    )
    assert [(line["instance"], line["version"], line["commit"]) for line in found.lines] == rows
    assert {line["caller"] for line in found.lines} == {"ae:TEST"}


def test_all_versions_of_an_instance_are_kept(one: Writing) -> None:
    variants = [ct(1, variant=variant) for variant in range(4)]
    store_singly(one, [*variants, ct(2)])
    compact(one)
    reclaim(one)
    assert [one.bytes_of(ct(1).instance, number) for number in range(1, 5)] == [file.part10 for file in variants]
    assert is_sound(one)


def test_a_series_that_came_at_once_costs_few_objects_and_is_left_alone(one: Writing) -> None:
    """2,000 instances of 20 KB."""
    files = [ct(number, size=20 << 10) for number in range(2000)]
    one.commits.commit([store(file) for file in files])
    before = listed(one)
    assert len(before) <= 4
    assert compacted(one.database, one.store, 32 << 20) == {}
    assert listed(one) == before
    one.commits.commit([change(Action.DELETE, 1, 1)])
    reclaim(one)
    assert listed(one) == []


@pytest.mark.long
def test_a_series_of_2000_stored_singly_costs_few_objects_afterwards(one: Writing) -> None:
    files = [ct(number, size=20 << 10) for number in range(2000)]
    store_singly(one, files)
    assert len(listed(one)) == 2000
    compacted(one.database, one.store, 32 << 20)
    reclaim(one)
    assert len(listed(one)) <= 4
    assert is_sound(one)
    assert has(one, files[::50])
    one.commits.commit([change(Action.DELETE, 1, 1)])
    reclaim(one)
    assert listed(one) == []


def reading(one: Writing) -> tuple[Retrieve, list[Version]]:
    """What a replica's process reads with, and versions that it has looked up."""
    retrieve = Retrieve(PostgresIndex(one.database), S3Objects(one.store, lambda: 0))
    versions = [version for page in retrieve.pages(Scope("default", study_uid=Uid(STUDY))) for version in page]
    return retrieve, versions


def streamed(retrieve: Retrieve, versions: Sequence[Version]) -> bytes:
    async def stream() -> bytes:
        parts = [Extent(version, 0, version.size) for version in versions]
        return b"".join([bytes(piece) async for piece in retrieve.stream(caller(), parts)])

    return asyncio.run(stream())


def test_who_looked_up_before_reads_the_same_after(one: Writing) -> None:
    """However late: also when what was looked up is gone from the store."""
    files = [ct(number) for number in range(10)]
    store_singly(one, files)
    retrieve, versions = reading(one)
    compact(one)
    assert streamed(retrieve, versions) == b"".join(file.part10 for file in files)
    reclaim(one)
    assert streamed(retrieve, versions) == b"".join(file.part10 for file in files)
    for version, file in zip(versions, files, strict=True):
        assert retrieve.read(version, 100, 500) == file.part10[100:600]
        room = bytearray(700)
        retrieve.fill(memoryview(room), version, 50)
        assert room == file.part10[50:750]
    one.commits.commit([change(Action.DELETE, 1, 1, 0)])
    reclaim(one)
    compact(one)
    reclaim(one)
    another, _ = reading(one)  # that has fetched nothing ahead
    with pytest.raises(NotFoundError):
        another.read(versions[0], 0, 10)


def test_what_is_deleted_leaves_no_bytes_behind(one: Writing) -> None:
    """Also where others of its object stay."""
    files = [ct(number) for number in range(10)]
    one.commits.commit([store(file) for file in files])
    (before,) = listed(one)
    one.commits.commit([change(Action.DELETE, 1, 1, 3)])
    assert [grown.series_uid for grown in compactor(one.database, one.store).quiet(0, timedelta(0), 10)] == [SERIES]
    compact(one)
    reclaim(one)
    (after,) = listed(one)
    assert after != before
    assert has(one, files[:3] + files[4:])
    ((size,),) = one.rows("SELECT size FROM object")
    whole = one.store.read(Range(one.store.bucket("default"), after, 0, size))
    assert files[3].pixels not in whole
    assert is_sound(one)


def tasks_of(one: Writing) -> list[Task]:
    return [
        task
        for task in PostgresTasks(one.database, "test").page(Selection(), 0, 100)
        if task.queue != compaction.LOOKING
    ]


def look(one: Writing, quiet_after: float) -> Compacting:
    """Look for series once."""
    tasks = PostgresTasks(one.database, "test")
    made = Compacting(compactor(one.database, one.store), tasks, quiet_after)
    tasks.add(compaction.standing())
    (standing,) = tasks.page(Selection(queue=compaction.LOOKING), 0, 1)
    assert made.step(standing, threading.Event()) is not None
    return made


def test_a_series_becomes_a_task_once_it_is_quiet_and_needs_it(one: Writing) -> None:
    store_singly(one, [ct(number) for number in range(5)])
    one.commits.commit([store(ct(number, study=2)) for number in range(5)])
    look(one, 3600.0)
    assert tasks_of(one) == []
    assert one.rows("SELECT count(*) FROM arriving") == [(2,)]
    look(one, 0.0)
    (task,) = tasks_of(one)
    assert (task.kind, task.queue, task.name.split()[0]) == (TaskKind.COMPACT, "default", SERIES)
    assert one.rows("SELECT count(*) FROM arriving") == [(0,)]
    made = look(one, 0.0)
    assert tasks_of(one) == [task]
    again = made.step(task, threading.Event())
    assert again is not None
    assert made.step(task, threading.Event()) is None
    assert one.rows("SELECT live FROM object WHERE live > 0 ORDER BY id") == [(5,), (5,)]
    store_singly(one, [ct(9)])
    look(one, 0.0)
    assert len(tasks_of(one)) == 2, "what comes after a task was added has one of its own"


def test_a_task_over_damaged_bytes_says_so_in_the_end_and_goes_on_when_they_were_mended(one: Writing) -> None:
    store_singly(one, [ct(number) for number in range(5)])
    overwrite(one, ct(2).instance, 1000)
    made = look(one, 0.0)
    (task,) = tasks_of(one)
    again = made.step(task, threading.Event())
    assert again is not None
    task = replace(task, payload=again.payload)
    with pytest.raises(DamagedError, match=ct(2).instance):
        made.step(task, threading.Event())
    assert sorted(one.rows("SELECT live FROM object WHERE live > 0")) == [(1,), (4,)]
    overwrite(one, ct(2).instance, 1000)  # as it was
    while (again := made.step(task, threading.Event())) is not None:
        task = replace(task, payload=again.payload)
    assert one.rows("SELECT live FROM object WHERE live > 0") == [(5,)]


def test_what_lies_elsewhere_by_now_is_nothing_that_long_answers_have_to_ask_about(one: Writing) -> None:
    generation = Generation(one.database)
    grown: list[int] = []

    def note() -> None:
        generation.look()
        grown.append(generation.now())

    store_singly(one, [ct(number) for number in range(5)])
    note()
    compact(one)
    reclaim(one)
    note()
    one.commits.commit([change(Action.DELETE, 1, 1, 2)])
    compact(one)
    reclaim(one)
    note()
    one.commits.commit([change(Action.DELETE, 1)])
    reclaim(one)
    note()
    assert grown[0] == grown[1] < grown[2] < grown[3]
    assert listed(one) == []
