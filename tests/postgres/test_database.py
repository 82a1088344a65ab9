"""A process's side of PostgreSQL: what is known when something breaks, and that nothing is used up by it."""
# ruff: noqa: PT012 - a transaction fails where it is left, whatever is in it

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from imagerepo.adapters.postgres.database import Budget, Database
from imagerepo.adapters.postgres.failures import InDoubtError, RejectedError, RolledBackError
from imagerepo.adapters.postgres.settled import _new_token, _stands, forget, in_transaction, settled
from imagerepo.errors import SettingsError, TooLargeError, UnavailableError
from tests.harness import databases
from tests.harness.database_relay import Loss, Relay, between
from tests.testbed.shared import shared_postgres


@pytest.fixture
def url() -> Iterator[str]:
    with databases.with_schema() as made:
        with databases.opened(made) as database, database.transaction() as connection:
            connection.execute("CREATE TABLE mark (n bigint PRIMARY KEY)")
        yield made


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    with databases.opened(url, 2) as opened:
        yield opened


@pytest.fixture
def relay() -> Iterator[Relay]:
    with between(shared_postgres().plan.postgres.port) as made:
        yield made


@pytest.fixture
def relayed(url: str, relay: Relay) -> Iterator[Database]:
    port = shared_postgres().plan.postgres.port
    with databases.opened(url.replace(f":{port}/", f":{relay.port}/"), 2) as opened:
        yield opened


def marks(database: Database) -> list[int]:
    with database.reading() as connection:
        return [n for (n,) in connection.execute("SELECT n FROM mark ORDER BY n")]


def mark(connection: psycopg.Connection, n: int) -> None:
    connection.execute("INSERT INTO mark VALUES (%s)", (n,))


def test_a_transaction_is_there_when_it_is_left_and_not_at_all_if_it_fails(database: Database) -> None:
    with database.transaction() as connection:
        mark(connection, 1)
    with pytest.raises(ZeroDivisionError), database.transaction() as connection:
        mark(connection, 2)
        raise ZeroDivisionError
    with pytest.raises(UnavailableError), database.transaction() as connection:
        mark(connection, 3)
        mark(connection, 1)
    assert marks(database) == [1]


def test_what_is_acknowledged_is_flushed_whatever_the_server_s_default(url: str) -> None:
    name = url.rpartition("/")[2]
    with databases.superuser() as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off".encode())
    with databases.opened(url) as database, database.transaction() as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == ("on",)


def test_a_failure_that_was_passed_over_does_not_count_as_a_commit(database: Database) -> None:
    with pytest.raises(RolledBackError), database.transaction() as connection:
        mark(connection, 1)
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM nothing")
    assert marks(database) == []


def test_a_transaction_goes_in_one_piece_through_a_pipeline(database: Database) -> None:
    with database.transaction() as connection, connection.pipeline():
        mark(connection, 1)
        mark(connection, 2)
    with pytest.raises(UnavailableError), database.transaction() as connection, connection.pipeline():
        mark(connection, 3)
        mark(connection, 1)
    assert marks(database) == [1, 2]


def test_failures_use_up_no_connection(database: Database) -> None:
    for _ in range(10):
        with pytest.raises(UnavailableError), database.transaction() as connection:
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        with pytest.raises(UnavailableError), database.reading() as connection:
            connection.execute("SELECT nothing")
        with pytest.raises(ZeroDivisionError), database.reading():
            raise ZeroDivisionError
    with database.reading(), database.transaction() as connection:
        mark(connection, 1)


def test_one_that_gets_no_connection_is_told_which_setting_says_so(database: Database) -> None:
    with (
        database.reading(),
        database.reading(),
        pytest.raises(UnavailableError, match=r"all 2 .*cluster\.database\.connections"),
        database.reading(),
    ):
        pass


def test_connections_that_the_server_has_ended_are_not_used_again(database: Database) -> None:
    with database.reading(), database.reading():
        pass  # two of them
    server = shared_postgres()
    server.daemon.stop()
    server.start()
    assert marks(database) == []
    assert marks(database) == []


def test_while_no_server_runs_that_is_said_and_it_is_found_again(database: Database) -> None:
    server = shared_postgres()
    server.daemon.stop()
    try:
        with pytest.raises(UnavailableError, match=r"does not answer.*Connection refused"):
            marks(database)
    finally:
        server.start()
    assert marks(database) == []


def test_a_statement_that_others_keep_waiting_ends_and_may_be_tried_again(database: Database, url: str) -> None:
    with database.transaction() as connection:
        mark(connection, 1)
    with databases.opened(url) as other, other.transaction() as holding:
        holding.execute("SELECT n FROM mark FOR UPDATE")
        with pytest.raises(RolledBackError), database.transaction() as connection:
            connection.execute("SET LOCAL lock_timeout = 100")
            connection.execute("UPDATE mark SET n = 2")


def test_a_deadlock_ends_one_of_the_two_and_both_get_through_when_it_is_tried_again(url: str) -> None:
    with databases.opened(url) as database:
        in_transaction(database, lambda connection: [mark(connection, n) for n in (1, 2)])
        both = threading.Barrier(2)

        def change(first: int, second: int) -> None:
            tries = 0

            def work(connection: psycopg.Connection) -> None:
                nonlocal tries
                connection.execute("UPDATE mark SET n = n WHERE n = %s", (first,))
                if not tries:
                    tries += 1
                    both.wait(10)
                connection.execute("UPDATE mark SET n = n WHERE n = %s", (second,))

            in_transaction(database, work)
            done.append(first)

        done: list[int] = []
        threads = [threading.Thread(target=change, args=pair) for pair in ((1, 2), (2, 1))]
        for one in threads:
            one.start()
        for one in threads:
            one.join(30)
        assert sorted(done) == [1, 2]


def test_a_lost_answer_to_a_commit_is_a_doubt(relayed: Database, relay: Relay, database: Database) -> None:
    with pytest.raises(InDoubtError), relayed.transaction() as connection:
        mark(connection, 1)
        relay.loss = Loss.ANSWER_TO_COMMIT
    relay.loss = Loss.NOTHING
    assert marks(database) == [1]


@contextmanager
def doubt(relay: Relay, loss: Loss, meanwhile: Callable[[], object] = bool) -> Iterator[None]:
    """Something is lost from now on, until a while after `meanwhile`: answers to those who ask for it, too."""

    def heal() -> None:
        meanwhile()
        time.sleep(0.2)
        relay.loss = Loss.NOTHING

    relay.loss = loss
    healing = threading.Timer(0.2, heal)
    healing.start()
    try:
        yield
    finally:
        healing.join()


def begin_anew() -> None:
    """As after a crash."""
    server = shared_postgres()
    server.daemon.kill()
    server.start()


@pytest.mark.parametrize(("loss", "meanwhile"), [(Loss.ANSWER_TO_COMMIT, bool), (Loss.ALL_FROM_COMMIT, begin_anew)])
def test_what_was_committed_in_doubt_is_told_to_be_committed(
    relayed: Database, relay: Relay, loss: Loss, meanwhile: Callable[[], object]
) -> None:
    with ExitStack() as losing, settled(relayed) as connection:
        mark(connection, 1)
        losing.enter_context(doubt(relay, loss, meanwhile))
    assert marks(relayed) == [1]


@pytest.mark.parametrize("meanwhile", [bool, begin_anew])
def test_what_was_not_committed_is_told_to_be_undone(
    relayed: Database, relay: Relay, meanwhile: Callable[[], object]
) -> None:
    with (
        ExitStack() as losing,
        pytest.raises(UnavailableError, match="undone") as caught,
        settled(relayed) as connection,
    ):
        mark(connection, 1)
        losing.enter_context(doubt(relay, Loss.COMMIT, meanwhile))
    assert not isinstance(caught.value, InDoubtError)
    assert marks(relayed) == []


def test_a_commit_that_the_server_has_not_come_to_yet_is_waited_for(relayed: Database, relay: Relay) -> None:
    with settled(relayed) as connection:
        mark(connection, 1)
        backend = connection.info.backend_pid
        os.kill(backend, signal.SIGSTOP)
        threading.Timer(0.3, relay.cut).start()
        going_on = threading.Timer(1.5, os.kill, (backend, signal.SIGCONT))
        going_on.start()
    going_on.join()
    assert marks(relayed) == [1]


def test_who_asks_again_is_told_the_same(database: Database) -> None:
    """Its own row must not be taken for that of the transaction: the first answer may have been lost."""
    in_transaction(database, lambda connection: mark(connection, 1))
    with database.reading() as connection:
        ((committed,),) = connection.execute("SELECT token FROM settlement").fetchall()
    lost = _new_token()
    assert [_stands(database, token) for token in (lost, committed, lost, committed)] == [False, True, False, True]


def test_who_asks_too_late_is_told_that_it_is_not_known(
    relayed: Database, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its token may have been removed since."""
    monkeypatch.setattr(time, "time_ns", lambda now=time.time_ns: now() - 3000 * 10**9)
    with pytest.raises(InDoubtError, match="too long ago"), settled(relayed) as connection:
        mark(connection, 1)
        relay.loss = Loss.ANSWER_TO_COMMIT
        threading.Timer(0.5, setattr, (relay, "loss", Loss.NOTHING)).start()


def test_tokens_of_an_hour_ago_are_removed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    in_transaction(database, lambda connection: mark(connection, 1))
    with monkeypatch.context() as past:
        past.setattr(time, "time_ns", lambda now=time.time_ns: now() - 3700 * 10**9)
        in_transaction(database, lambda connection: mark(connection, 2))
    assert forget(database) == 1
    assert forget(database) == 0
    with database.reading() as connection:
        assert connection.execute("SELECT count(*) FROM settlement").fetchone() == (1,)


def test_a_connection_cut_before_the_commit_leaves_no_doubt(relayed: Database, relay: Relay) -> None:
    with pytest.raises(UnavailableError) as caught, relayed.transaction() as connection:
        mark(connection, 1)
        relay.cut()
        mark(connection, 2)
    assert not isinstance(caught.value, InDoubtError)
    assert marks(relayed) == []


def test_a_transaction_of_a_paused_process_does_not_keep_its_locks(url: str) -> None:
    with databases.opened(url) as paused, databases.opened(url) as other:
        in_transaction(other, lambda connection: mark(connection, 1))
        with pytest.raises(UnavailableError), paused.transaction() as connection:
            connection.execute("SELECT n FROM mark FOR UPDATE")
            in_transaction(other, lambda there: there.execute("UPDATE mark SET n = 2"))  # while this one says nothing
            connection.execute("SELECT 1")
        assert marks(other) == [2]


def test_a_budget_ends_what_takes_too_long_and_nothing_else(database: Database) -> None:
    budget = Budget(0.3, lambda: TooLargeError("too broad"))
    with database.reading() as connection:
        with budget.spent_by(connection):
            connection.execute("SELECT 1")
        with pytest.raises(TooLargeError), budget.spent_by(connection):
            connection.execute("SELECT pg_sleep(0.2)")
            connection.execute("SELECT pg_sleep(20)")
        connection.execute("SELECT pg_sleep(0.4)")
        with pytest.raises(TooLargeError), budget.spent_by(connection):
            connection.execute("SELECT 1")
        budget.add(5)
        with budget.spent_by(connection):
            connection.execute("SELECT 1")


def test_a_statement_that_was_held_up_by_a_pause_may_be_tried_again(database: Database) -> None:
    server = shared_postgres()
    budget = Budget(0.5, lambda: TooLargeError("too broad"))
    with pytest.raises(UnavailableError), database.reading() as connection, budget.spent_by(connection):
        threading.Timer(2.5, server.daemon.resume).start()
        server.daemon.pause()
        connection.execute("SELECT pg_sleep(20)")


@pytest.mark.long
def test_a_server_that_is_paused_counts_as_dead(database: Database) -> None:
    server = shared_postgres()
    assert marks(database) == []
    server.daemon.pause()
    try:
        with pytest.raises(UnavailableError, match="no answer"):
            marks(database)
    finally:
        server.daemon.resume()
    assert marks(database) == []


@pytest.mark.parametrize("wrong", ["not a url", "postgresql://u@h/d?no_such_option=1"])
def test_a_url_that_no_server_could_be_asked_with_is_refused_at_once(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"cluster\.database\.url"):
        Database(wrong)


def test_a_password_is_read_from_its_file_each_time(url: str, tmp_path: Path) -> None:
    password = shared_postgres().plan.postgres.password
    file = tmp_path / "password"
    without = url.replace(f":{password}@", "@")
    with pytest.raises(SettingsError, match=r"cluster\.database\.password_file"):
        Database(without, file)
    file.write_text("another\n")
    database = Database(without, file)
    with pytest.raises(RejectedError, match="password authentication failed"):
        marks(database)
    file.write_text(f"{password}\n")
    assert marks(database) == []
    database.close()
