"""What workers keep in order, on a real store and a real database: unnamed objects go, bytes are compared, rows read
again; and no row is ever without its bytes.
"""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from imagerepo.adapters.bundles import known, placing, sweeping
from imagerepo.adapters.bundles.ledger_writing import LedgerWriter
from imagerepo.adapters.bundles.reclaim import Reclaimer
from imagerepo.adapters.bundles.reindexing import StoredDescriptions
from imagerepo.adapters.bundles.scrubbing import StoredCopies
from imagerepo.adapters.bundles.sweeping import ObjectSweeper
from imagerepo.adapters.objects_s3.objects import S3Objects
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.adapters.postgres.tasks import PostgresTasks
from imagerepo.errors import UnavailableError
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.upkeep import reindex, scrub
from imagerepo.flows.upkeep.steps import Step, Steps
from imagerepo.flows.work import Attempts
from imagerepo.model.events import Action, CommitKind
from imagerepo.model.instance import Range
from imagerepo.model.scope import Scope
from imagerepo.model.task import Task, TaskKind, TaskState
from imagerepo.model.uids import Uid
from imagerepo.ports.tasks import Selection
from imagerepo.ports.upkeep import Swept
from imagerepo.settings import Retry, Settings
from imagerepo.settings_cluster import Store, Upkeep
from tests.harness import s3
from tests.harness.committing import Writing, writing
from tests.harness.dicom_file import ct, uid
from tests.harness.requests import change, spooled, store
from tests.testbed import s3 as testbed_s3
from tests.testbed.shared import shared_bed

pytestmark = pytest.mark.timeout(300)

NO_GRACE = timedelta(0)


@pytest.fixture
def settings(tmp_path: Path) -> Store:
    return s3.settings(shared_bed(), tmp_path, bucket_prefix=f"u-{secrets.token_hex(4)}")


@pytest.fixture
def one(url: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    with writing(url, settings, tmp_path, "one") as made:
        made.store.check(["default"])
        yield made
        s3.empty(made.store, "default")


def sweep(one: Writing, grace: timedelta = NO_GRACE) -> Swept:
    return ObjectSweeper(one.database, one.store).sweep("default", "", grace)


def put_unnamed(one: Writing, study: int = 1) -> str:
    """An object as a replica leaves it that dies before its transaction."""
    name = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
    return one.store.put(f"default/{uid(study)}/{uid(study, 1)}/{name}", [b"nobody's"], institution="default").key


def keys(one: Writing) -> set[str]:
    return {found.key for found in one.store.list(one.store.bucket("default"), "", "")}


def kinds(results) -> list[CommitKind]:
    return [one.kind for one in results]


def test_only_what_no_row_names_is_swept_once_it_is_old(one: Writing) -> None:
    sweep(one)  # a copy of the template is another database: what was stored before is spared from here on
    one.commits.commit([store(ct(number, series=number)) for number in range(3)])
    named = keys(one)
    foreign = one.store.put("default/of/somebody/else", [b"kept"], institution="default").key
    unnamed = put_unnamed(one)
    assert sweep(one, timedelta(hours=1)).removed == 0
    assert keys(one) == {*named, foreign, unnamed}
    assert sweep(one).removed == 1
    assert keys(one) == {*named, foreign}
    assert (sweep(one).seen, sweep(one).removed) == (4, 0)


def test_what_was_deleted_is_left_to_be_reclaimed(one: Writing) -> None:
    sweep(one)
    one.commits.commit([store(ct(1))])
    one.commits.commit([change(Action.DELETE, 1)])
    assert sweep(one).removed == 0
    assert len(keys(one)) == 1
    put_unnamed(one, study=2)
    assert sweep(one).removed == 1
    reclaimer = Reclaimer(one.database, one.store)
    assert reclaimer.work(NO_GRACE) == 1  # not the key that was swept, which nobody may use for a while
    assert one.rows("SELECT live, size FROM object") == [(0, len(b"nobody's"))]
    one.rows("UPDATE object SET gone_at = 0 RETURNING 1")
    assert reclaimer.work(NO_GRACE) == 1
    assert one.rows("SELECT count(*) FROM object") == [(0,)]


def test_a_database_that_was_lost_loses_no_object_to_the_sweep(url: str, one: Writing) -> None:
    """Made anew, restored or taken over by a standby: rows of what was stored before may be missing."""
    sweep(one)
    one.commits.commit([store(ct(1))])
    before = keys(one)
    one.rows("UPDATE incarnation SET identity = 'as a backup has it' RETURNING 1")
    one.rows('WITH r AS (DELETE FROM "range") DELETE FROM object RETURNING 1')
    swept = sweep(one)
    assert (swept.removed, swept.spared) == (0, 1)
    later = put_unnamed(one)
    assert sweep(one).removed == 1  # what comes after that is known
    assert keys(one) == before
    assert later not in before
    with one.database.transaction() as connection:  # somebody has looked at all that is stored
        sweeping.trust(connection)
    assert sweep(one).removed == 1
    assert keys(one) == set()


def test_a_database_that_was_set_back_behind_its_ledger_loses_no_object_to_the_sweep(one: Writing) -> None:
    """As by a snapshot of its disk, which leaves no trace in it."""
    sweep(one)
    ledgers = LedgerWriter(one.database, one.store, "replica")
    one.commits.commit([store(ct(1))])
    ledgers.write()
    note_ledger(one)
    one.commits.commit([store(ct(2, study=2))])
    ledgers.write()
    before = keys(one)
    assert sweep(one).removed == 0
    set_back(one)
    with pytest.raises(UnavailableError, match="set back"):
        sweep(one)
    one.commits.commit([store(ct(3, study=3))])
    ledgers.write()  # a new epoch
    assert (sweep(one).removed, sweep(one).spared) == (0, 1)
    assert before < keys(one)


def test_a_commit_in_the_middle_of_its_transaction_keeps_its_object(one: Writing, url: str) -> None:
    sweep(one)
    one.commits.commit([store(ct(1))])
    with held_up(one), ThreadPoolExecutor() as pool:
        storing = pool.submit(one.commits.commit, [store(ct(2, study=2))])
        await_true(lambda: len(keys(one)) == 2)
        await_true(lambda: waits(one))  # its rows are written, and nobody sees them
        sweeping = pool.submit(sweep, one)
        await_true(lambda: waits(one, 2))  # for these rows
        let_go.set()
        assert kinds(storing.result()) == [CommitKind.STORED]
        assert sweeping.result().removed == 0
    assert one.bytes_of(ct(2, study=2).instance) == ct(2, study=2).part10


@pytest.mark.long
def test_a_commit_that_comes_after_the_sweep_names_nothing_that_is_gone(one: Writing) -> None:
    """As of a replica that was paused between its object and its row."""
    sweep(one)
    file = ct(1)
    lock = known.lock_of_study("default", uid(1))
    with one.database.transaction() as connection, ThreadPoolExecutor() as pool:
        connection.run("SELECT pg_advisory_xact_lock(%s)", (lock,))
        storing = pool.submit(one.commits.commit, [store(file)])
        await_true(lambda: len(keys(one)) == 1)
        assert sweep(one).removed == 1
        connection.rollback()
        assert kinds(storing.result()) == [CommitKind.FAILED]
    assert one.rows("SELECT count(*) FROM version") == [(0,)]
    assert kinds(one.commits.commit([store(file)])) == [CommitKind.STORED]
    assert one.bytes_of(file.instance) == file.part10


def test_bytes_that_differ_or_are_missing_are_parked_with_the_reason_and_nothing_is_changed(one: Writing) -> None:
    large = ct(3, series=3, size=9 << 20)
    request = spooled(one.commits, large)
    one.commits.commit([store(ct(1, series=1)), store(ct(2, series=1)), store(ct(4, series=4)), request])
    request.payload.discard()
    place = {instance: (key, offset) for instance, key, offset in one.rows(PLACES)}
    altered, missing, good = ct(2, series=1).instance, ct(4, series=4).instance, ct(1, series=1).instance
    whole = {key: body_of(one, key) for key, _ in place.values()}
    key, offset = place[altered]
    put_over(one, key, flipped(whole[key], offset + 700))
    one.store.delete(one.store.bucket("default"), [place[missing][0]])

    found = scrubbed(one)
    assert {task.name.partition(" ")[0]: task.state for task in found} == {
        altered: TaskState.PARKED,
        missing: TaskState.PARKED,
    }
    assert all(problem in task.problem for task, problem in zip(found, ("are not those", "missing"), strict=True))
    assert verified(one) == {good, large.instance}
    assert len(keys(one)) == 2

    for key in (place[altered][0], place[missing][0]):  # somebody has brought them back
        put_over(one, key, whole[key])
    PostgresTasks(one.database, "command").retry(Selection(TaskKind.SCRUB, "default"))
    assert scrubbed(one) == []
    assert verified(one) == {good, large.instance, altered, missing}


def test_a_version_that_was_deleted_or_lies_elsewhere_by_now_is_no_damage(one: Writing) -> None:
    one.commits.commit([store(ct(number, series=number)) for number in (1, 2)])
    moved, deleted = [key for _, key, _ in one.rows(PLACES)]
    bytes_ = body_of(one, moved)
    copies = StoredCopies(one.database)

    class Between:
        """What is read lies elsewhere a moment later: by then rows say so."""

        def page(self, after, limit):
            page = copies.page(after, limit)
            if page:
                new = one.store.put(f"{moved}0", [bytes_], institution="default").key
                one.rows("UPDATE object SET key = %s WHERE key = %s RETURNING 1", new, moved)
                one.commits.commit([change(Action.DELETE, 1, 2)])
                one.store.delete(one.store.bucket("default"), [moved, deleted])
            return page

        find = staticmethod(copies.find)
        verified = staticmethod(copies.verified)

    assert scrubbed(one, Between()) == []
    assert verified(one) == {ct(1, series=1).instance}


def test_a_study_is_described_by_its_bytes_again(one: Writing) -> None:
    files = [replace(ct(number, series=number % 3), attributes={0x00100020: ("LO", "FIRST")}) for number in range(9)]
    files.append(replace(files[4], pixels=b"another version "))
    for file in files:
        one.commits.commit([store(file)])
    before = described(one)
    one.rows("UPDATE study SET patient_id = 'WRONG', modalities = '', patient_differs = 1 RETURNING 1")
    one.rows("UPDATE series SET modality = 'OT', body_part = 'WRONG' RETURNING 1")
    one.rows("UPDATE instance SET instance_number = '7', \"rows\" = 1, patient_key = 0 RETURNING 1")
    assert described(one) != before
    reindexed(one, Scope("default", Uid(uid(1))))
    assert described(one) == before

    one.rows("UPDATE series SET modality = 'OT' RETURNING 1")
    assert reindexed(one, Scope("default", Uid(uid(1)), Uid(files[0].series))) == []
    said = one.rows("SELECT uid, modality FROM series ORDER BY uid")
    assert [modality for name, modality in said if name == files[0].series] == ["CT"]
    assert [modality for name, modality in said if name != files[0].series] == ["OT", "OT"]


def test_what_cannot_be_read_again_keeps_its_description(one: Writing) -> None:
    one.commits.commit([store(ct(1))])
    ((_, key, _),) = one.rows(PLACES)
    before = described(one)
    one.store.delete(one.store.bucket("default"), [key])
    (task,) = reindexed(one, Scope("default", Uid(uid(1))))
    assert task.state is TaskState.PARKED
    assert "missing" in task.problem
    assert described(one) == before


def test_a_database_that_was_set_back_into_a_compaction_loses_no_object_to_the_reclaimer(one: Writing) -> None:
    """To between its new object's row and the versions in it; what these were copied from has gone since."""
    sweep(one)
    one.commits.commit([store(ct(1))])
    (key,) = keys(one)
    one.rows('DELETE FROM "range" RETURNING 1')
    one.rows("UPDATE object SET size = 0, live = 0, gone_at = 1 RETURNING 1")
    one.rows("UPDATE incarnation SET identity = 'as a backup has it' RETURNING 1")
    reclaimer = Reclaimer(one.database, one.store)
    assert reclaimer.work(NO_GRACE) == 0
    assert (sweep(one).removed, sweep(one).spared) == (0, 1)
    assert reclaimer.work(NO_GRACE) == 0
    assert keys(one) == {key}


def test_a_database_that_was_set_back_without_a_trace_reclaims_nothing_unfinished(one: Writing) -> None:
    sweep(one)
    ledgers = LedgerWriter(one.database, one.store, "replica")
    one.commits.commit([store(ct(1))])
    ledgers.write()
    note_ledger(one)
    one.commits.commit([store(ct(2, study=2))])
    ledgers.write()
    before = keys(one)
    set_back(one)
    one.rows("UPDATE object SET size = 0, live = 0, gone_at = 1 RETURNING 1")
    assert Reclaimer(one.database, one.store).work(NO_GRACE) == 0
    assert keys(one) == before


def test_an_object_that_compaction_did_not_finish_is_reclaimed(one: Writing) -> None:
    sweep(one)
    one.commits.commit([store(ct(1))])
    one.rows("UPDATE object SET size = 0, live = 0, gone_at = 1 RETURNING 1")
    assert Reclaimer(one.database, one.store).work(NO_GRACE) == 1
    assert keys(one) == set()


def test_what_still_has_versions_is_not_reclaimed_whatever_its_row_says_of_when_it_goes(one: Writing) -> None:
    one.commits.commit([store(ct(1))])
    one.rows("UPDATE object SET gone_at = 1 RETURNING 1")
    assert Reclaimer(one.database, one.store).work(NO_GRACE) == 0


@pytest.mark.parametrize("change", ["since = since + 1", "identity = 'another'"])
def test_a_sweep_that_began_with_another_database_removes_nothing(one: Writing, change: str) -> None:
    """As of a worker that listed before the database was replaced, and asks for a row after it."""
    sweep(one)
    put_unnamed(one)
    sweeper = ObjectSweeper(one.database, one.store)
    (listed,) = one.store.list(one.store.bucket("default"), "", "")
    since = sweeping.since_when(one.database)
    one.rows(f"UPDATE incarnation SET {change} RETURNING 1")
    assert sweeper._remove(one.store.bucket("default"), [listed], since) == 0
    assert len(keys(one)) == 1


def test_a_commit_that_comes_when_the_sweep_has_forgotten_its_key_is_refused(
    one: Writing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a replica that stood still for days between its object and its row."""
    days = 2 * 24 * 3600 * 1_000_000_000
    with monkeypatch.context() as patched:
        patched.setattr(placing.time, "time_ns", lambda began=time.time_ns: began() - days)
        assert kinds(one.commits.commit([store(ct(1))])) == [CommitKind.FAILED]
    assert one.rows("SELECT count(*) FROM version") == [(0,)]
    assert kinds(one.commits.commit([store(ct(1))])) == [CommitKind.STORED]


LEDGER = ("ledger", "ledger_chain")


def note_ledger(one: Writing) -> None:
    with one.database.transaction() as connection:
        for table in LEDGER:
            connection.run(f"CREATE TABLE {table}_before AS TABLE {table}")


def set_back(one: Writing) -> None:
    """To before the last commit, as far as the sweep and the ledger are concerned."""
    ((last,),) = one.rows("SELECT max(commit_number) FROM journal")
    with one.database.transaction() as connection:
        connection.run("DELETE FROM journal WHERE commit_number = %s", (last,))
        connection.run('DELETE FROM "range" WHERE object_id >> 10 = %s', (last,))
        connection.run("DELETE FROM object WHERE id >> 10 = %s", (last,))
        for table in LEDGER:
            connection.run(f"DELETE FROM {table}")
            connection.run(f"INSERT INTO {table} TABLE {table}_before")
        connection.run("UPDATE chain c SET sequence = l.sequence, digest = l.digest FROM ledger_chain l")


PLACES = (
    'SELECT i.uid, o.key, r."offset" FROM "range" r JOIN object o ON o.id = r.object_id '
    "JOIN instance i ON i.id = r.instance_id ORDER BY i.id"
)
let_go = threading.Event()


@contextmanager
def held_up(one: Writing) -> Iterator[None]:
    """What the writer commits meanwhile waits before its last statement, until `let_go`, as if its machine stood."""
    let_go.clear()
    held = threading.Event()

    def hold() -> None:
        with one.database.transaction() as connection:
            connection.run("SELECT 1 FROM chain FOR UPDATE")
            held.set()
            let_go.wait(4)  # less than the server bears

    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    try:
        yield
    finally:
        let_go.set()
        holder.join()


def waits(one: Writing, count: int = 1) -> bool:
    """Whether so many sessions wait for others."""
    ((found,),) = one.rows(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    return found >= count


def await_true(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def body_of(one: Writing, key: str) -> bytes:
    ((size,),) = one.rows("SELECT size FROM object WHERE key = %s", key)
    return one.store.read(Range(one.store.bucket("default"), key, 0, size))


def put_over(one: Writing, key: str, body: bytes) -> None:
    """As no replica does: over what is there."""
    with testbed_s3.client(shared_bed().plan.s3) as client:
        client.put_object(Bucket=one.store.bucket("default"), Key=key, Body=body)


def flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


def verified(one: Writing) -> set[str]:
    rows = one.rows("SELECT i.uid FROM copy c JOIN instance i ON i.id = c.instance_id WHERE c.verified_at IS NOT NULL")
    return {name for (name,) in rows}


def done(one: Writing, kind: TaskKind, step: Step, queues: tuple[str, ...]) -> list[Task]:
    """Do what is due as a worker does; what is left in the institution's queue."""
    tasks = PostgresTasks(one.database, "worker")
    for queue in queues:
        Steps(kind, step, tasks, Attempts(tasks, Retry())).work(queue, threading.Event())
    return list(tasks.page(Selection(kind, "default"), 0, 10))


def scrubbed(one: Writing, copies=None) -> list[Task]:
    tasks = PostgresTasks(one.database, "worker")
    tasks.add(scrub.standing(Settings()))
    opened = partial(S3Objects, one.store, lambda: 0)
    step = scrub.Scrub(copies or StoredCopies(one.database), opened, tasks, Upkeep())
    return done(one, TaskKind.SCRUB, step, ("all", "default"))


def reindexed(one: Writing, scope: Scope) -> list[Task]:
    reindex.add(PostgresTasks(one.database, "command"), scope)
    index, objects = PostgresIndex(one.database), S3Objects(one.store, lambda: 0)
    step = reindex.Reindex(index, Retrieve(index, objects), StoredDescriptions(one.database))
    return done(one, TaskKind.REINDEX, step, ("default",))


def described(one: Writing) -> list[list[tuple]]:
    return [one.rows(f"SELECT * FROM {table} ORDER BY id") for table in ("study", "series", "instance")]
