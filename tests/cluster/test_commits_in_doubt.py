"""The connection to PostgreSQL is lost while a commit of a replica is under way: the answer is what became of it."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from imagerepo.adapters.bundles.doubt import is_committed
from imagerepo.adapters.bundles.item import made_of
from imagerepo.adapters.bundles.journaling import Writer
from imagerepo.adapters.bundles.known import Institutions
from imagerepo.adapters.bundles.transaction import Transactor
from imagerepo.adapters.postgres import upgrading
from imagerepo.adapters.postgres.failures import InDoubtError
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.errors import UnavailableError
from imagerepo.model.events import Action, CommitKind
from tests.harness import databases, s3
from tests.harness.committing import Writing, writing
from tests.harness.database_relay import Loss, Relay, between
from tests.harness.dicom_file import ct
from tests.harness.requests import change, journal, store
from tests.harness.standby import following
from tests.testbed.postgres import Server
from tests.testbed.shared import own_postgres, shared_bed, shared_postgres

pytestmark = pytest.mark.timeout(300)


@contextmanager
def behind_relay(url: str, folder: Path, name: str) -> Iterator[tuple[Writing, Relay]]:
    """A writer whose way to the database can be cut."""
    port = shared_postgres().plan.postgres.port
    with ExitStack() as opened:
        relay = opened.enter_context(between(port))
        settings = s3.settings(shared_bed(), folder, bucket_prefix="doubt")
        made = writing(url.replace(f":{port}/", f":{relay.port}/"), settings, folder, name)
        yield opened.enter_context(made), relay


@contextmanager
def direct(url: str, folder: Path, name: str) -> Iterator[Writing]:
    with writing(url, s3.settings(shared_bed(), folder, bucket_prefix="doubt"), folder, name) as made:
        yield made


def heal(relay: Relay) -> None:
    relay.loss = Loss.NOTHING


def kinds(results) -> list[CommitKind]:
    return [one.kind for one in results]


@pytest.mark.parametrize("loss", [Loss.COMMIT, Loss.ANSWER_TO_COMMIT])
def test_a_lost_commit_is_found_out_or_made_again_and_answered_once(url: str, tmp_path: Path, loss: Loss) -> None:
    files = [ct(number) for number in range(1, 6)]
    with behind_relay(url, tmp_path, "one") as (one, relay):
        assert kinds(one.commits.commit([store(ct(9))])) == [CommitKind.STORED]
        relay.loss = loss
        healing = threading.Timer(0.5, heal, [relay])
        healing.start()
        results = one.commits.commit([*(store(file) for file in files), journal(query="x")])
        healing.join()
        assert kinds(results) == [CommitKind.STORED] * 5 + [CommitKind.JOURNALED]
        assert [result.version for result in results] == [1] * 5 + [0]
        for file in files:
            assert one.bytes_of(file.instance) == file.part10
        assert kinds(one.commits.commit([store(file) for file in files])) == [CommitKind.DUPLICATE] * 5
        assert one.rows("SELECT count(*) FROM version") == [(6,)]
        assert one.rows("SELECT sum(instance_count)::int, sum(study_count)::int FROM holding") == [(6, 1)]
        assert one.journal.verify(with_bytes=True).entries == 7


@pytest.mark.parametrize("loss", [Loss.COMMIT, Loss.ANSWER_TO_COMMIT])
def test_a_lost_deletion_is_found_out_or_made_again(url: str, tmp_path: Path, loss: Loss) -> None:
    with behind_relay(url, tmp_path, "one") as (one, relay):
        one.commits.commit([store(ct(number)) for number in range(1, 4)])
        relay.loss = loss
        healing = threading.Timer(0.5, heal, [relay])
        healing.start()
        (result,) = one.commits.commit([change(Action.DELETE, 1)])
        healing.join()
        assert (result.kind, result.instances) == (CommitKind.CHANGED, 3)
        assert one.rows("SELECT count(*) FROM instance") == [(0,)]
        assert one.journal.verify(with_bytes=True).entries == 4


def test_what_nobody_can_find_out_is_answered_as_failed_and_is_whole(url: str, tmp_path: Path) -> None:
    """The database is gone from COMMIT on: the sender is told to send again, and is then told what became of it."""
    file = ct(1)
    with behind_relay(url, tmp_path, "one") as (one, relay), direct(url, tmp_path, "two") as two:
        one.commits.commit([journal(query="x")])
        relay.loss = Loss.ALL_FROM_COMMIT
        (result,) = one.commits.commit([store(file)])
        assert result.kind is CommitKind.FAILED
        assert isinstance(result.error, UnavailableError)
        # It was committed: its bytes are there.
        assert two.bytes_of(file.instance) == file.part10
        assert kinds(two.commits.commit([store(file)])) == [CommitKind.DUPLICATE]
        heal(relay)
        assert kinds(one.commits.commit([store(file), store(ct(2))])) == [CommitKind.DUPLICATE, CommitKind.STORED]
        assert one.journal.verify(with_bytes=True).entries == 3


def test_what_changes_nothing_is_answered_though_nobody_can_find_out(url: str, tmp_path: Path) -> None:
    """Another writer was first with the same instance."""
    with behind_relay(url, tmp_path, "one") as (one, relay):
        one.commits.commit([store(ct(1))])
        late = Transactor(one.database, Institutions(one.database), Writer("two"))
        (item,) = made_of([store(ct(1))], time.monotonic() + 10)
        relay.loss = Loss.ALL_FROM_COMMIT
        ((_, answer),) = late.run([item], "1s").answers
        assert answer.kind is CommitKind.DUPLICATE


@pytest.mark.long
def test_nobody_vouches_for_what_only_the_primary_has(tmp_path: Path) -> None:
    """It shows what it could not hand on when it was lost: were the standby to take over, that would be gone."""
    primary = own_postgres()
    standby = following(primary)
    with ExitStack() as opened:
        settings = s3.settings(shared_bed(), tmp_path, bucket_prefix="standby")
        with databases.opened(primary.plan.postgres.url) as database:
            upgrading.upgrade(database)
        one, two = (
            opened.enter_context(writing(primary.plan.postgres.url, settings, tmp_path, name))
            for name in ("one", "two")
        )
        assert kinds(one.commits.commit([store(ct(1))])) == [CommitKind.STORED]
        with ThreadPoolExecutor(3) as pool:
            standby.daemon.pause()
            try:
                first = pool.submit(one.commits.commit, [store(ct(2))])
                end_who_waits_for_the_standby(primary)
                while not two.rows("SELECT 1 FROM instance WHERE uid = %s", ct(2).instance):
                    time.sleep(0.05)
                second = pool.submit(two.commits.commit, [store(ct(2))])
                reported = pool.submit(PostgresIndex(two.database).settle)  # before it is reported to be safe
                time.sleep(1.0)
                assert not any(one.done() for one in (first, second, reported))
            finally:
                standby.daemon.resume()
            assert kinds(first.result()) == [CommitKind.STORED]
            assert kinds(second.result()) == [CommitKind.DUPLICATE]
            reported.result()


def end_who_waits_for_the_standby(primary: Server) -> None:
    with primary._as_superuser() as connection:
        while not connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
        ).fetchall():
            time.sleep(0.05)


def test_a_number_that_another_writer_was_given_after_a_crash_is_not_ours(url: str, tmp_path: Path) -> None:
    """PostgreSQL gives numbers of a sequence again that were lost with the transactions that had them."""
    lost = InDoubtError("the connection was lost")
    with direct(url, tmp_path, "two") as two:
        two.commits.commit([store(ct(1))])
        ((number,),) = two.rows("SELECT max(commit_number) FROM journal")
        assert is_committed(two.database, "two", number, lost)
        assert not is_committed(two.database, "one", number, lost)


def send_until_stored(one: Writing, start: int) -> None:
    """As senders do: what failed is sent again."""
    for number in range(start, start + 6):
        for _ in range(200):
            (result,) = one.commits.commit([store(ct(number, series=number % 3))])
            if result.error is None:
                break
            assert isinstance(result.error, UnavailableError)
        else:
            pytest.fail(f"instance {number} could not be stored: {result.error}")


@contextmanager
def connections_ending(database: str) -> Iterator[None]:
    """All of them, over and over."""
    ending = threading.Event()
    chance = random.Random(1)

    def end_them() -> None:
        with databases.superuser() as connection:
            while not ending.wait(chance.uniform(0.02, 0.3)):
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'imagerepo' "
                    "AND datname = %s",
                    (database,),
                )

    vandal = threading.Thread(target=end_them)
    vandal.start()
    try:
        yield
    finally:
        ending.set()
        vandal.join()


def test_connections_that_are_ended_over_and_over_lose_nothing(url: str, tmp_path: Path) -> None:
    """While four senders store."""
    with (
        direct(url, tmp_path, "one") as one,
        direct(url, tmp_path, "two") as two,
        connections_ending(url.rpartition("/")[2]),
        ThreadPoolExecutor(4) as pool,
    ):
        orders = ((one, 0), (two, 0), (one, 100), (two, 200))
        for sender in [pool.submit(send_until_stored, writer, start) for writer, start in orders]:
            sender.result()
    # Connections that were ended while nobody used them are not taken.
    with direct(url, tmp_path, "three") as three:
        stored = [ct(number, series=number % 3) for start in (0, 100, 200) for number in range(start, start + 6)]
        for file in stored:
            assert three.bytes_of(file.instance) == file.part10
        assert three.rows("SELECT count(*) FROM version") == [(len(stored),)]
        assert three.rows("SELECT instance_count FROM study") == [(len(stored),)]
        three.journal.verify(with_bytes=True)
