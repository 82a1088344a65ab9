"""What the server's end does to those who work with it."""

import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.tasks import PostgresTasks
from imagerepo.errors import UnavailableError
from imagerepo.model.task import NewTask, TaskKind
from imagerepo.ports.tasks import Selection
from tests.harness import databases
from tests.testbed.shared import shared_postgres

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FORWARD = TaskKind.FORWARD


@pytest.fixture
def database() -> Iterator[Database]:
    with databases.with_schema() as url, databases.opened(url, 8) as opened:
        yield opened


def restart() -> None:
    server = shared_postgres()
    server.daemon.stop()
    server.start()


def crash() -> None:
    server = shared_postgres()
    server.daemon.kill()
    server.start()


def cut_connections() -> None:
    with databases.superuser() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> 'postgres' AND pid <> "
            "pg_backend_pid() AND backend_type = 'client backend'"
        )


@contextmanager
def working(database: Database, work: Callable[[PostgresTasks, int], None]) -> Iterator[None]:
    """Four who do one thing after another."""
    stop = threading.Event()

    def run(owner: int) -> None:
        tasks = PostgresTasks(database, f"replica-{owner}")
        while not stop.is_set():
            work(tasks, owner)

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(run, number) for number in range(4)]
        try:
            yield
        finally:
            stop.set()
            for one in running:
                one.result(60)


@pytest.mark.parametrize("fault", [cut_connections, restart, crash])
def test_what_was_acknowledged_is_there_once_whatever_happens_to_the_server(
    fault: Callable[[], None], database: Database
) -> None:
    numbers, acknowledged = itertools.count(), []

    def add(tasks: PostgresTasks, owner: int) -> None:
        name = f"{owner}-{next(numbers)}"
        task = NewTask(FORWARD, "default", "ARCHIVE", f"lane-{owner}", name, "{}", NOW)
        while True:
            try:
                tasks.add([task])
            except UnavailableError:
                continue
            acknowledged.append(name)
            return

    with working(database, add):
        for _ in range(3):
            before = len(acknowledged)
            fault()
            while len(acknowledged) < before + 20:
                threading.Event().wait(0.01)
    found = [one.name for one in PostgresTasks(database, "any").page(Selection(), 0, 100_000)]
    assert sorted(found) == sorted(acknowledged)


def test_a_process_that_is_killed_lets_go_of_what_it_had_locked(database: Database) -> None:
    tasks = PostgresTasks(database, "any")
    tasks.add([NewTask(FORWARD, "default", "ARCHIVE", "lane", name, "{}", NOW) for name in ("a", "b")])
    program = (
        "import sys\nfrom imagerepo.adapters.postgres.database import Database\n"
        "with Database(sys.argv[1]).transaction() as connection:\n"
        "    for name in ('a', 'b'):\n"
        "        connection.execute('SELECT id FROM task WHERE name = %s FOR UPDATE', (name,))\n"
    )
    with psycopg.connect(database.place.url) as holding:
        holding.execute("SELECT id FROM task WHERE name = 'b' FOR UPDATE")
        killed = subprocess.Popen([sys.executable, "-c", program, database.place.url])
        while not is_locked(database, "a"):
            assert killed.poll() is None
        killed.kill()  # while it waits for what others hold
        killed.wait()
        with database.transaction() as connection:
            assert connection.execute("SELECT id FROM task WHERE name = 'a' FOR UPDATE").fetchone()


@pytest.mark.skipif(os.geteuid() != 0, reason="making a network and running PostgreSQL in it takes root")
def test_a_network_that_swallows_packets_is_noticed_by_who_waits_and_by_who_asks() -> None:
    program = [sys.executable, "-m", "tests.postgres.cut_network"]
    done = subprocess.run(
        ["unshare", "--net", "--kill-child", *program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    asking, later, waiting = sorted(done.stdout.splitlines())
    assert waiting.startswith("waiting: the database cannot be used: ")
    assert asking.startswith("asking: the database cannot be used: ")
    assert "no answer" not in done.stdout  # which is said after a wait without end
    assert later == "later: (3,)"


def is_locked(database: Database, name: str) -> bool:
    with database.reading() as connection:
        found = connection.execute("SELECT id FROM task WHERE name = %s FOR UPDATE SKIP LOCKED", (name,)).fetchone()
    return found is None


def test_no_task_is_in_two_hands_while_connections_are_cut(database: Database) -> None:
    first = PostgresTasks(database, "first")
    names = [f"{lane}/{number}" for number in range(30) for lane in range(8)]
    first.add([NewTask(FORWARD, "default", "ARCHIVE", name[0], name, "{}", NOW) for name in names])
    begun: list[str] = []

    def lease(tasks: PostgresTasks, _owner: int) -> None:
        try:
            mine = tasks.lease(FORWARD, "ARCHIVE", NOW, NOW + timedelta(hours=1), 2)
        except UnavailableError:
            return  # if they were leased after all, they come when the lease has ended
        begun.extend(one.name for one in mine)
        while mine:
            try:
                tasks.finish([one.id for one in mine])
            except UnavailableError:
                continue
            return

    with working(database, lease):
        while first_pending(database) > 60:
            cut_connections()
            threading.Event().wait(0.05)
    assert len(begun) == len(set(begun))
    assert len(begun) >= 180


def first_pending(database: Database) -> int:
    """How many tasks are left, asked until there is an answer."""
    while True:
        try:
            return PostgresTasks(database, "any").pending()[FORWARD]
        except UnavailableError:
            continue
