"""Commits of a replica: what is in the way of some must not be in the way of others, and no row is without bytes."""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from imagerepo.adapters.bundles import known
from imagerepo.adapters.bundles.commits import BundleCommits
from imagerepo.adapters.bundles.feed import BundleFeed
from imagerepo.adapters.bundles.generation import Generation
from imagerepo.adapters.bundles.reclaim import Reclaimer
from imagerepo.adapters.bundles.spool import Scratch
from imagerepo.errors import DamagedError, OutOfSpaceError, UnavailableError
from imagerepo.model.events import Action, CommitKind
from imagerepo.model.instance import Range
from imagerepo.settings_cluster import Store
from tests.harness import s3
from tests.harness.committing import Writing, writing
from tests.harness.dicom_file import ct, uid
from tests.harness.gateway_relay import Harm, Relay
from tests.harness.requests import change, journal, spooled, store
from tests.testbed.shared import shared_bed

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def settings(tmp_path: Path) -> Store:
    return s3.settings(shared_bed(), tmp_path, bucket_prefix="commits")


@pytest.fixture
def one(url: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    with writing(url, settings, tmp_path, "one") as made:
        yield made


@pytest.fixture
def two(url: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    with writing(url, settings, tmp_path, "two") as made:
        yield made


def kinds(results) -> list[CommitKind]:
    return [one.kind for one in results]


def keys(one: Writing) -> list[tuple[str, str]]:
    return one.rows("SELECT store, key FROM object ORDER BY id")


def is_stored(one: Writing, store_: str, key: str) -> bool:
    try:
        one.store.read(Range(store_, key, 0, 64))
    except DamagedError:
        return False
    return True


def test_all_of_a_series_in_a_commit_lies_in_one_object(one: Writing) -> None:
    one.commits.commit([store(ct(number, series=number % 2)) for number in range(20)])
    folders = sorted(key.rpartition("/")[0] for _, key in keys(one))
    assert folders == [f"default/{uid(1)}/{uid(1, series)}" for series in (0, 1)]
    assert one.rows("SELECT live FROM object") == [(10,), (10,)]


def test_the_first_of_a_call_describes_its_study_however_long_its_bytes_take(one: Writing) -> None:
    for study in range(1, 11):
        first = replace(ct(1, study=study, series=1, size=1 << 20), attributes={0x00100020: ("LO", "FIRST")})
        others = [ct(number, study=study, series=number) for number in (2, 3, 4)]
        one.commits.commit([store(file) for file in (first, *others)])
    assert one.rows("SELECT DISTINCT patient_id, patient_differs, series_count FROM study") == [("FIRST", 1, 4)]


def test_a_large_instance_has_an_object_of_its_own(one: Writing) -> None:
    large = ct(1, size=9 << 20)
    request = spooled(one.commits, large)
    assert kinds(one.commits.commit([store(ct(2)), request, store(ct(3))])) == [CommitKind.STORED] * 3
    request.payload.discard()
    assert one.rows("SELECT live FROM object ORDER BY size") == [(2,), (1,)]
    assert one.bytes_of(large.instance) == large.part10


@pytest.mark.parametrize(
    "text", ["NUL\0IN IT", "\N{FACE WITH TEARS OF JOY}" * 1000, "x" * 4000, "back\\u0000slash", "\"quo'te", "  "]
)
def test_any_text_is_stored(one: Writing, text: str) -> None:
    request = store(ct(1))
    said = dict.fromkeys(("patient_name", "study_description", "series_description", "study_id", "body_part"), text)
    odd = replace(request, attributes=replace(request.attributes, **said))
    assert kinds(one.commits.commit([store(ct(2, study=2)), odd])) == [CommitKind.STORED] * 2
    assert one.bytes_of(ct(1).instance) == ct(1).part10


def test_what_the_database_cannot_take_does_not_fail_its_neighbours(one: Writing) -> None:
    request = store(ct(1))
    impossible = replace(request, attributes=replace(request.attributes, rows=1 << 70))
    others = [store(ct(number, study=number)) for number in range(2, 6)]
    results = one.commits.commit([*others[:2], impossible, journal(query="x"), *others[2:]])
    stored = CommitKind.STORED
    assert kinds(results) == [stored, stored, CommitKind.FAILED, CommitKind.JOURNALED, stored, stored]
    one.journal.verify(with_bytes=True)


def test_a_study_that_somebody_holds_on_to_delays_no_other(one: Writing, two: Writing) -> None:
    """As a replica would that is stopped in the middle of a transaction: the server ends it after a while."""
    held, free = threading.Event(), threading.Event()

    def hold_on() -> None:
        try:
            with two.database.transaction() as connection:
                lock = known.lock_of_study("default", uid(1))
                connection.run("SELECT pg_advisory_xact_lock(%s)", (lock,))
                held.set()
                free.wait(60)
        except UnavailableError:
            pass  # the server has ended it

    holder = threading.Thread(target=hold_on)
    holder.start()
    held.wait()
    waiting: list[CommitKind] = []
    waiter = threading.Thread(target=lambda: waiting.extend(kinds(one.commits.commit([store(ct(1))]))))
    waiter.start()
    for number in range(2, 8):
        assert kinds(one.commits.commit([store(ct(number, study=number))])) == [CommitKind.STORED]
        assert waiting == []
    waiter.join()  # the server lets go of it before the sender's patience ends
    assert waiting == [CommitKind.STORED]
    free.set()
    holder.join()


def test_a_store_that_does_not_answer_fails_arrivals_and_nothing_else(
    url: str, settings: Store, tmp_path: Path, two: Writing
) -> None:
    with Relay(shared_bed().plan.s3.endpoint).running() as relay:
        by_relay = settings.model_copy(update={"endpoints": (relay.url,)})
        with writing(url, by_relay, tmp_path, "relayed") as one:
            assert kinds(one.commits.commit([store(ct(1))])) == [CommitKind.STORED]
            relay.always(Harm.SLOW_DOWN)
            results = one.commits.commit([store(ct(1)), store(ct(2)), journal(query="x"), change(Action.HOLD, 1)])
            assert kinds(results) == [
                CommitKind.DUPLICATE, CommitKind.FAILED, CommitKind.JOURNALED, CommitKind.CHANGED,
            ]  # fmt: skip
            assert isinstance(results[1].error, UnavailableError)
    assert two.rows("SELECT count(*) FROM instance") == [(1,)]
    two.journal.verify(with_bytes=True)


def test_a_full_store_takes_nothing_and_says_so(url: str, tmp_path: Path) -> None:
    bed = shared_bed()
    with s3.user(bed, max_objects="1") as (access, secret):
        full = s3.settings(bed, tmp_path, access_key=access, secret_key=secret)
        with writing(url, full, tmp_path, "one") as one:
            failed = []
            for number in range(30):  # the gateway notices with some delay
                (result,) = one.commits.commit([store(ct(number))])
                if result.error is not None:
                    failed.append(result.error)
                    break
            assert isinstance(failed[0], OutOfSpaceError)
            assert not one.commits.accepts()
            assert one.commits.commit([journal(query="x")])[0].kind is CommitKind.JOURNALED


def test_scratch_space_without_room_refuses_large_instances_alone(one: Writing, tmp_path: Path) -> None:
    """While one that was too large filled it, all others were refused too."""
    commits = BundleCommits(one.database, one.store, Scratch(tmp_path, 1 << 60), "full")
    with closing(commits):
        assert commits.accepts()
        assert commits.commit([store(ct(1))])[0].kind is CommitKind.STORED
        large = commits.spool()
        with pytest.raises(OutOfSpaceError):
            large.write(b"of many")


def test_objects_go_when_nothing_is_left_in_them_and_not_before(one: Writing, two: Writing) -> None:
    one.commits.commit([store(ct(number, series=series)) for series in (1, 2) for number in range(5)])
    first, second = sorted(keys(one))
    reclaimer = Reclaimer(two.database, two.store)
    generation = Generation(two.database)
    generation.look()
    before = generation.now()
    one.commits.commit([change(Action.DELETE, 1, 1, number) for number in range(4)])
    assert reclaimer.work(timedelta(0)) == 0
    assert one.rows("SELECT count(*) FROM reclaim") == [(4,)]
    one.commits.commit([change(Action.DELETE, 1, 1, 4)])
    generation.look()
    assert generation.now() > before
    assert reclaimer.work(timedelta(hours=1)) == 0
    assert is_stored(one, *first)
    assert reclaimer.work(timedelta(0)) == 1
    assert not is_stored(one, *first)
    assert is_stored(one, *second)
    assert keys(one) == [second]
    assert one.rows("SELECT count(*) FROM reclaim") == [(0,)]
    one.journal.verify(with_bytes=True)


def test_what_lost_a_race_leaves_no_object(one: Writing, two: Writing) -> None:
    """Both write the bytes before either has rows: one of the objects is needed, the other goes."""
    files = [ct(number, size=1 << 16) for number in range(8)]
    for file in files:
        barrier = threading.Barrier(2)
        found: list[CommitKind] = []

        def send(writer: Writing, file=file, barrier=barrier, found=found) -> None:
            barrier.wait()
            found.extend(kinds(writer.commits.commit([store(file)])))

        senders = [threading.Thread(target=send, args=(writer,)) for writer in (one, two)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert sorted(found) == [CommitKind.DUPLICATE, CommitKind.STORED]
    Reclaimer(one.database, one.store).work(timedelta(0))
    assert one.rows("SELECT count(*), sum(live)::int FROM object") == [(len(files), len(files))]
    there = {
        listed.key for listed in one.store.list(one.store.bucket("default"), f"default/{uid(1)}/{uid(1, 1)}/", "")
    }
    assert {key for _, key in keys(one)} <= there
    one.journal.verify(with_bytes=True)


def test_who_follows_sees_every_version_once_and_in_each_writer_s_order(one: Writing, two: Writing) -> None:
    feed = BundleFeed(one.database)
    one.commits.commit([store(ct(number, study=9)) for number in range(3)])
    marks = feed.now()
    ending = threading.Event()
    seen: list[str] = []

    def follow() -> None:
        at = marks
        while True:
            last = ending.is_set()
            page = feed.since(at)
            seen.extend(arrived.instance_uid for arrived in page.arrived)
            at = page.marks
            if last and not page.more:
                return
            time.sleep(0.01)

    follower = threading.Thread(target=follow)
    follower.start()

    def send(writer: Writing, start: int) -> None:
        for number in range(start, start + 10):
            writer.commits.commit([store(ct(number)), journal(query="x"), store(ct(number, study=start), "other")])

    senders = [threading.Thread(target=send, args=(writer, start)) for writer, start in ((one, 100), (two, 200))]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
    ending.set()
    follower.join()
    expected = {ct(number).instance for start in (100, 200) for number in range(start, start + 10)}
    expected |= {ct(number, study=start).instance for start in (100, 200) for number in range(start, start + 10)}
    assert len(seen) == len(set(seen))
    assert set(seen) == expected
    for start in (100, 200):
        of_writer = [ct(number).instance for number in range(start, start + 10)]
        assert [instance for instance in seen if instance in of_writer] == of_writer


def test_a_page_of_the_feed_ends_and_goes_on(one: Writing) -> None:
    feed = BundleFeed(one.database)
    marks = feed.now()
    one.commits.commit([store(ct(number, size=32)) for number in range(1200)])
    seen = []
    while True:
        page = feed.since(marks)
        seen += page.arrived
        marks = page.marks
        if not page.more:
            break
    assert len({arrived.instance_uid for arrived in seen}) == len(seen) == 1200


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (
            "UPDATE journal SET lines = replace(encode(lines, 'escape'), 'ae:TEST', 'ae:EVIL')::bytea WHERE first = 2",
            "2",
        ),
        ("DELETE FROM journal WHERE first = 2", "goes from entry 1 to 3"),
        ("DELETE FROM journal WHERE first = 3", "cut off"),
        ("UPDATE chain SET digest = repeat('0', 64)", "entry 3 is not the one"),
    ],
)
def test_a_journal_that_was_changed_is_found_out(one: Writing, damage: str, said: str) -> None:
    for number in range(3):
        one.commits.commit([store(ct(number))])
    assert one.journal.verify(with_bytes=False).entries == 3
    assert len(list(one.journal.entries())) == 3
    one.rows(f"WITH d AS ({damage} RETURNING 1) SELECT * FROM d")
    with pytest.raises(DamagedError, match=said):
        one.journal.verify(with_bytes=False)
