"""Tasks of several replicas, each with leases of its own."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.tasks import PostgresTasks
from imagerepo.errors import OvertakenError
from imagerepo.model.task import NewTask, TaskKind, TaskState
from imagerepo.ports.feed import Mark
from imagerepo.ports.tasks import Selection
from tests.harness import databases
from tests.harness.database_relay import Loss, between
from tests.testbed.shared import shared_postgres

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)
FORWARD = TaskKind.FORWARD
QUEUE = "ARCHIVE"


@pytest.fixture
def url() -> Iterator[str]:
    with databases.with_schema() as made:
        yield made


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with databases.opened(url, 16) as opened:
        yield opened


@pytest.fixture
def one(database: Database) -> PostgresTasks:
    return PostgresTasks(database, "replica-1")


@pytest.fixture
def other(database: Database) -> PostgresTasks:
    return PostgresTasks(database, "replica-2")


def task(name: str, lane: str = "study") -> NewTask:
    return NewTask(FORWARD, "default", QUEUE, lane, name, f'"{name}"', NOW)


def leased(tasks: PostgresTasks, now: datetime = NOW) -> list[str]:
    return [one.name for one in tasks.lease(FORWARD, QUEUE, now, now + timedelta(minutes=1), 10)]


def ids(tasks: PostgresTasks) -> list[int]:
    return [one.id for one in tasks.page(Selection(), 0, 100)]


def test_a_restart_gives_back_one_s_own_leases_and_nobody_else_s(one: PostgresTasks, other: PostgresTasks) -> None:
    one.add([task("a", "a"), task("b", "b")])
    assert (leased(one), leased(other)) == (["a"], ["b"])
    one.give_back_all()
    assert leased(other) == ["a"]
    assert leased(one) == []


def test_who_lost_a_lease_has_no_say_in_what_becomes_of_the_task(one: PostgresTasks, other: PostgresTasks) -> None:
    one.add([task("a")])
    assert leased(one) == ["a"]
    at = NOW + timedelta(minutes=2)
    assert leased(other, at) == ["a"]
    (number,) = ids(one)
    one.postpone(number, LATER, "refused")
    one.park(number, "refused")
    one.give_back([number])
    one.extend([number], NOW)
    (found,) = one.page(Selection(), 0, 10)
    assert (found.state, found.attempts, found.problem) == (TaskState.WAITING, 0, "")
    assert leased(one, at) == []
    one.finish([number])  # which it has done all the same
    assert ids(other) == []


def test_each_task_is_leased_once_and_lanes_keep_their_order(database: Database) -> None:
    lanes = [f"study-{number}" for number in range(12)]
    first = PostgresTasks(database, "first")
    first.add([task(f"{lane}/{number}", lane) for number in range(20) for lane in lanes])
    done: defaultdict[str, list[int]] = defaultdict(list)
    begun: list[str] = []

    def work(owner: str) -> None:
        tasks = PostgresTasks(database, owner)
        while ids_left := tasks.pending()[FORWARD]:
            mine = tasks.lease(FORWARD, QUEUE, NOW, LATER, 3)
            for one in mine:
                begun.append(one.name)
                lane, _, number = one.name.partition("/")
                done[lane].append(int(number))
            tasks.finish([one.id for one in mine])
            assert ids_left > 0

    with ThreadPoolExecutor(6) as pool:
        for worked in [pool.submit(work, f"replica-{number}") for number in range(6)]:
            worked.result(120)
    assert len(begun) == len(set(begun)) == 240
    assert {lane: done[lane] for lane in lanes} == {lane: list(range(20)) for lane in lanes}


def test_of_those_who_follow_at_the_same_time_one_adds_its_tasks(database: Database) -> None:
    replicas = [PostgresTasks(database, f"replica-{number}") for number in range(4)]
    replicas[0].follow("forwarding", {}, [], None)
    together = threading.Barrier(4)

    def follow(number: int) -> bool:
        mark = {"all": Mark("", 10 + number)}
        together.wait(10)
        try:
            replicas[number].follow("forwarding", mark, [task(f"of {number}")], {})
        except OvertakenError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(follow, range(4)))
    assert won.count(True) == 1
    winner = won.index(True)
    assert replicas[0].followed("forwarding") == {"all": Mark("", 10 + winner)}
    assert [one.name for one in replicas[0].page(Selection(), 0, 10)] == [f"of {winner}"]


def test_the_same_tasks_added_by_all_at_once_in_any_order_are_there_once(database: Database) -> None:
    names = [f"{number:03}" for number in range(200)]
    orders = [names, names[::-1], names[100:] + names[:100], names]

    def add(order: list[str]) -> None:
        PostgresTasks(database, "any").add([task(name) for name in order])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, orders))
    assert sorted(one.name for one in PostgresTasks(database, "any").page(Selection(), 0, 1000)) == names


def test_an_answer_that_is_lost_on_its_way_does_no_harm(url: str) -> None:
    server = shared_postgres().plan.postgres
    with (
        between(server.port) as relay,
        databases.opened(url.replace(f":{server.port}/", f":{relay.port}/")) as relayed,
    ):
        tasks = PostgresTasks(relayed, "replica-1")
        relay.loss = Loss.ANSWER_TO_COMMIT
        tasks.add([task("a")])
        relay.loss = Loss.NOTHING
        assert leased(tasks) == ["a"]


def test_problems_and_queues_may_have_any_text(one: PostgresTasks) -> None:
    one.add([NewTask(FORWARD, "default", "100% ÄÖ'\"\\", "läne\n", "%s", "{}", NOW)])
    (name,) = one.due(FORWARD, NOW)
    (found,) = one.lease(FORWARD, name, NOW, LATER, 1)
    one.postpone(found.id, NOW, "%s' \\")
    (again,) = one.page(Selection(queue=name, name="%s"), 0, 1)
    assert (again.queue, again.lane, again.problem) == ("100% ÄÖ'\"\\", "läne\n", "%s' \\")
