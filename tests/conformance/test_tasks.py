"""Deferred work: what every implementation of ports.tasks promises."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

import pytest

from imagerepo.adapters.memory_tasks import MemoryTasks
from imagerepo.adapters.postgres.tasks import PostgresTasks
from imagerepo.adapters.work_sql import schema
from imagerepo.adapters.work_sql.tasks import SqlTasks
from imagerepo.errors import OvertakenError
from imagerepo.model.task import NewTask, TaskKind, TaskState
from imagerepo.ports.feed import Mark
from imagerepo.ports.tasks import Selection, Tasks
from tests.harness import databases

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
FORWARD = TaskKind.FORWARD


class Later(StrEnum):
    """What a later release may have."""

    KIND = "later"


@contextmanager
def in_sqlite(data: Path) -> Iterator[Tasks]:
    schema.upgrade(data)
    yield SqlTasks(data)


@contextmanager
def in_memory(_data: Path) -> Iterator[Tasks]:
    yield MemoryTasks()


@contextmanager
def in_postgres(_data: Path) -> Iterator[Tasks]:
    with databases.with_schema() as url, databases.opened(url) as database:
        yield PostgresTasks(database, "replica-1")


@pytest.fixture(params=[in_memory, in_sqlite, in_postgres])
def tasks(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tasks]:
    make: Callable[[Path], AbstractContextManager[Tasks]] = request.param
    with make(tmp_path) as made:
        yield made


def task(name: str, *, lane: str = "study", queue: str = "ARCHIVE", due: datetime = NOW) -> NewTask:
    return NewTask(FORWARD, "default", queue, lane, name, f'"{name}"', due)


def leased(tasks: Tasks, now: datetime = NOW, limit: int = 10, queue: str = "ARCHIVE") -> list[str]:
    return [one.name for one in tasks.lease(FORWARD, queue, now, now + timedelta(minutes=1), limit)]


def test_tasks_of_a_lane_are_leased_in_order_and_to_one_owner_at_a_time(tasks: Tasks) -> None:
    tasks.add([task("a1", lane="a"), task("b1", lane="b"), task("a2", lane="a"), task("a3", lane="a")])
    assert leased(tasks, limit=2) == ["a1", "a2"]
    assert leased(tasks) == ["b1"]  # the rest of lane a waits for whoever has its first
    assert leased(tasks) == []


def test_what_a_dead_owner_had_is_leased_again_when_its_time_is_over(tasks: Tasks) -> None:
    tasks.add([task("a")])
    assert leased(tasks) == ["a"]
    assert leased(tasks, NOW + timedelta(seconds=59)) == []
    assert leased(tasks, NOW + timedelta(seconds=60)) == ["a"]


def test_nothing_is_leased_once_nobody_works(tasks: Tasks) -> None:
    tasks.add([task("a")])
    assert leased(tasks) == ["a"]
    tasks.give_back_all()
    assert leased(tasks) == ["a"]


def test_a_lease_is_given_back_or_extended(tasks: Tasks) -> None:
    tasks.add([task("a"), task("b")])
    one, other = tasks.lease(FORWARD, "ARCHIVE", NOW, LATER, 10)
    tasks.extend([one.id], LATER + timedelta(minutes=1))
    tasks.give_back([other.id])
    assert leased(tasks, LATER) == []  # of the same lane
    tasks.finish([one.id])
    assert leased(tasks, LATER) == ["b"]


def test_a_name_is_once_in_a_queue_until_its_task_is_done(tasks: Tasks) -> None:
    tasks.add([task("a"), task("a"), task("a", queue="OTHER")])
    assert tasks.pending()[FORWARD] == 2
    tasks.finish([one.id for one in tasks.page(Selection(queue="ARCHIVE"), 0, 10)])
    tasks.add([task("a")])
    assert tasks.pending() == {**dict.fromkeys(TaskKind, 0), FORWARD: 2}


def test_a_postponed_task_comes_when_it_is_due_and_keeps_nobody(tasks: Tasks) -> None:
    tasks.add([task("a"), task("b")])
    first = tasks.lease(FORWARD, "ARCHIVE", NOW, LATER, 10)[0]
    tasks.postpone(first.id, LATER, "refused")
    tasks.give_back([one.id for one in tasks.page(Selection(), 0, 10)])
    assert leased(tasks) == ["b"]
    (again,) = tasks.page(Selection(ids=(first.id,)), 0, 10)
    assert (again.attempts, again.due_at, again.problem) == (1, LATER, "refused")
    assert leased(tasks, LATER) == ["a", "b"]


def test_a_parked_task_waits_for_a_person(tasks: Tasks) -> None:
    tasks.add([task("a")])
    (one,) = tasks.lease(FORWARD, "ARCHIVE", NOW, LATER, 10)
    tasks.park(one.id, "refused")
    assert leased(tasks, LATER + timedelta(days=1)) == []
    assert tasks.due(FORWARD, LATER) == []
    assert tasks.pending()[FORWARD] == 1
    assert tasks.retry(Selection(state=TaskState.PARKED)) == 1
    assert leased(tasks) == ["a"]
    assert [one.attempts for one in tasks.page(Selection(), 0, 10)] == [0]


def test_a_queue_that_is_kept_gives_nothing_until_its_time(tasks: Tasks) -> None:
    tasks.add([task("a"), task("b", queue="OTHER")])
    tasks.keep(FORWARD, "ARCHIVE", LATER, "nobody answers")
    tasks.keep(FORWARD, "ARCHIVE", LATER, "nobody answers yet")
    assert leased(tasks) == []
    assert tasks.due(FORWARD, NOW) == ["OTHER"]
    (archive, _) = tasks.queues()
    assert (archive.name, archive.failures, archive.due_at) == ("ARCHIVE", 2, LATER)
    assert archive.problem == "nobody answers yet"
    assert tasks.due(FORWARD, LATER) == ["ARCHIVE", "OTHER"]
    tasks.clear(FORWARD, "ARCHIVE")
    assert leased(tasks) == ["a"]
    assert [one.failures for one in tasks.queues()] == [0, 0]


def test_trying_tasks_again_lets_their_queue_go_too(tasks: Tasks) -> None:
    tasks.add([task("a")])
    tasks.keep(FORWARD, "ARCHIVE", LATER, "nobody answers")
    assert tasks.retry(Selection(queue="ARCHIVE")) == 1
    assert leased(tasks) == ["a"]


def test_tasks_are_dropped_by_what_they_are(tasks: Tasks) -> None:
    tasks.add([task("a"), task("b"), task("c", queue="OTHER")])
    assert tasks.drop(Selection(name="a")) == 1
    assert tasks.drop(Selection(queue="OTHER")) == 1
    assert [one.name for one in tasks.page(Selection(FORWARD), 0, 10)] == ["b"]


def test_pages_go_on_after_the_last_one_seen(tasks: Tasks) -> None:
    tasks.add([task(str(number)) for number in range(5)])
    first = tasks.page(Selection(), 0, 2)
    assert [one.name for one in (*first, *tasks.page(Selection(), first[-1].id, 10))] == ["0", "1", "2", "3", "4"]


def test_a_task_is_not_due_before_its_time(tasks: Tasks) -> None:
    tasks.add([task("a", due=LATER)])
    assert (tasks.due(FORWARD, NOW), leased(tasks)) == ([], [])
    assert (tasks.due(FORWARD, LATER), leased(tasks, LATER)) == (["ARCHIVE"], ["a"])


def test_how_far_was_followed_is_kept_with_the_tasks_made_of_it(tasks: Tasks) -> None:
    assert tasks.followed("forwarding") is None
    tasks.follow("forwarding", {}, [], None)
    assert tasks.followed("forwarding") == {}  # nobody has written anything yet, which is not: never
    first = {"dimse-0": Mark("one", 10)}
    tasks.follow("forwarding", first, [task("a")], {})
    tasks.follow("forwarding", {"http-0": Mark("two", 20)}, [], first)
    assert tasks.followed("forwarding") == {"dimse-0": Mark("one", 10), "http-0": Mark("two", 20)}
    assert leased(tasks) == ["a"]
    tasks.unfollow("forwarding")
    assert tasks.followed("forwarding") is None


def test_whoever_was_overtaken_in_following_adds_nothing(tasks: Tasks) -> None:
    tasks.follow("forwarding", {"dimse-0": Mark("one", 10)}, [], None)
    for since in (None, {}, {"dimse-0": Mark("one", 9)}):
        with pytest.raises(OvertakenError):
            tasks.follow("forwarding", {"dimse-0": Mark("one", 20)}, [task("a")], since)
    assert tasks.followed("forwarding") == {"dimse-0": Mark("one", 10)}
    assert tasks.pending()[FORWARD] == 0


def test_a_task_that_is_renewed_goes_on_from_there_when_it_is_due(tasks: Tasks) -> None:
    tasks.add([task("a"), task("b", lane="other")])
    (one,) = tasks.lease(FORWARD, "ARCHIVE", NOW, LATER, 1)
    tasks.postpone(one.id, NOW, "refused")
    (one,) = tasks.lease(FORWARD, "ARCHIVE", NOW, LATER, 1)
    tasks.renew(one.id, '"half of it"', LATER)
    assert leased(tasks) == ["b"]
    (again,) = tasks.page(Selection(ids=(one.id,)), 0, 10)
    assert (again.payload, again.attempts, again.problem, again.due_at) == ('"half of it"', 0, "", LATER)
    assert leased(tasks, LATER) == ["a"]


@pytest.mark.parametrize("where", [in_sqlite, in_postgres])
def test_tasks_of_a_kind_that_a_later_release_has_are_passed_over(
    where: Callable[[Path], AbstractContextManager[Tasks]], tmp_path: Path
) -> None:
    with where(tmp_path) as tasks:
        tasks.add([replace(task("later"), kind=Later.KIND), task("ours")])
        assert tasks.pending()[FORWARD] == 1
        assert [one.kind for one in tasks.queues()] == [FORWARD]
        assert [one.name for one in tasks.page(Selection(), 0, 1)] == ["ours"]
