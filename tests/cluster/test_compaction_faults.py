"""Whoever compacts may be killed, paused or overtaken at any step: nothing is lost or altered, or left for good."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from imagerepo.adapters.bundles import known
from imagerepo.adapters.bundles.reclaim import Reclaimer
from imagerepo.adapters.objects_s3.objects import S3Objects
from imagerepo.adapters.postgres.failures import RolledBackError
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.errors import NotFoundError, OvertakenError, UnavailableError
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.events import Action
from imagerepo.model.scope import Scope
from imagerepo.model.uids import Uid
from imagerepo.settings_cluster import Store
from tests.harness import databases, s3
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
from tests.harness.database_relay import Loss, between
from tests.harness.dicom_file import DicomFile, ct
from tests.harness.gateway_relay import Harm, Relay
from tests.harness.requests import change, store
from tests.testbed.shared import shared_bed, shared_postgres

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def settings(tmp_path: Path) -> Store:
    return s3.settings(shared_bed(), tmp_path)


@pytest.fixture
def one(url: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    with writing(url, settings, tmp_path, "one") as made:
        yield made
        s3.empty(made.store, "default")


@pytest.fixture
def two(url: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    with writing(url, settings, tmp_path, "two") as made:
        yield made


def held_by(one: Writing, relay: Relay, settings: Store, harms: list[tuple[Harm, str]]) -> threading.Thread:
    """A compaction that is held up at a request; wait for `relay.held`."""
    for harm, method in harms:
        relay.harm(harm, method=method)
    by_relay = settings.model_copy(update={"endpoints": (relay.url,)})

    def work() -> None:
        with s3.opened(by_relay) as store_, suppress(OvertakenError):
            compacted(one.database, store_)

    thread = threading.Thread(target=work)
    thread.start()
    assert relay.held.wait(30)
    return thread


@pytest.mark.parametrize("what", ["some", "all", "and stored again"])
def test_what_is_deleted_meanwhile_stays_deleted(one: Writing, settings: Store, what: str) -> None:
    files = [ct(number) for number in range(6)]
    store_singly(one, files)
    with Relay(shared_bed().plan.s3.endpoint).running() as relay:
        thread = held_by(one, relay, settings, [(Harm.HOLD, "PUT")])
        one.commits.commit([change(Action.DELETE, 1, 1, 2)] if what == "some" else [change(Action.DELETE, 1)])
        if what == "and stored again":
            one.commits.commit([store(file) for file in files])
        relay.go_on.set()
        thread.join()
    left = {"some": files[:2] + files[3:], "all": [], "and stored again": files}[what]
    assert one.rows("SELECT count(*) FROM instance") == [(len(left),)]
    compact(one)
    reclaim(one)
    assert has(one, left)
    assert is_sound(one)
    assert len(listed(one)) == (1 if left else 0)
    ((torn,),) = one.rows("SELECT count(*) FROM reclaim")
    assert torn == 0


def test_what_is_stored_meanwhile_is_left_as_it_came(one: Writing, settings: Store) -> None:
    store_singly(one, [ct(number) for number in range(6)])
    with Relay(shared_bed().plan.s3.endpoint).running() as relay:
        thread = held_by(one, relay, settings, [(Harm.HOLD, "PUT")])
        store_singly(one, [ct(2, variant=1), ct(9)])
        relay.go_on.set()
        thread.join()
    assert one.bytes_of(ct(2).instance) == ct(2, variant=1).part10
    assert one.bytes_of(ct(2).instance, 1) == ct(2).part10
    assert is_sound(one)


@pytest.mark.parametrize("harms", [[(Harm.HOLD_ANSWER, "PUT")], [(Harm.NONE, "PUT"), (Harm.HOLD_ANSWER, "GET")]])
def test_who_took_too_long_names_nothing_that_was_reclaimed(
    one: Writing, settings: Store, harms: list[tuple[Harm, str]]
) -> None:
    """As a worker that was paused for a day: the object that it put is gone when it goes on."""
    files = [ct(number) for number in range(6)]
    store_singly(one, files)
    with Relay(shared_bed().plan.s3.endpoint).running() as relay:
        thread = held_by(one, relay, settings, harms)
        reclaim(one)
        relay.go_on.set()
        thread.join()
    assert has(one, files)
    assert one.rows("SELECT count(*) FROM object WHERE live > 0") == [(6,)]
    assert is_sound(one)


STEPS = {
    "reading": [(Harm.HOLD, "GET")],
    "putting": [(Harm.HOLD, "PUT")],
    "put": [(Harm.HOLD_ANSWER, "PUT")],
    "reading back": [(Harm.NONE, "PUT"), (Harm.HOLD, "GET")],
    "switching": [],
}
SHORT = {"switching"}


@pytest.mark.parametrize("step", [pytest.param(one, marks=() if one in SHORT else pytest.mark.long) for one in STEPS])
def test_who_is_killed_leaves_all_readable_and_nothing_for_good(
    one: Writing, url: str, settings: Store, step: str
) -> None:
    files = [ct(number) for number in range(12)]
    store_singly(one, files)
    with ExitStack() as opened:
        relay = opened.enter_context(Relay(shared_bed().plan.s3.endpoint).running())
        opened.callback(relay.go_on.set)
        for harm, method in STEPS[step]:
            relay.harm(harm, method=method)
        by_relay = settings.model_copy(update={"endpoints": (relay.url,)}).model_dump_json()
        if step == "switching":
            opened.enter_context(locked(one))
        worker = subprocess.Popen([sys.executable, "-m", "tests.cluster.compacting", url, by_relay])
        opened.callback(worker.kill)
        if step == "switching":
            await_waiting(one)
        else:
            assert relay.held.wait(60)
        worker.kill()
        assert worker.wait() < 0
    assert has(one, files)
    assert is_sound(one)
    assert one.rows("SELECT count(*) FROM object WHERE live > 0") == [(12,)]
    compact(one)
    reclaim(one)
    assert len(listed(one)) == 1
    assert has(one, files)
    assert is_sound(one)


@contextmanager
def locked(one: Writing) -> Iterator[None]:
    """Somebody has the study's lock, outside of any transaction."""
    with one.database.reading() as connection:
        key = known.lock_of_study("default", STUDY)
        connection.run("SELECT pg_advisory_lock(%s)", (key,))
        try:
            yield
        finally:
            connection.run("SELECT pg_advisory_unlock(%s)", (key,))


def await_waiting(one: Writing) -> None:
    """Until somebody waits for a lock."""
    waiting = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    until = time.monotonic() + 60
    while not one.rows(waiting):
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("loss", [pytest.param(Loss.COMMIT, marks=pytest.mark.long), Loss.ANSWER_TO_COMMIT])
def test_a_switch_whose_commit_is_in_doubt_is_begun_anew_and_found_done(
    one: Writing, url: str, settings: Store, loss: Loss
) -> None:
    files = [ct(number) for number in range(6)]
    store_singly(one, files)
    port = shared_postgres().plan.postgres.port
    with between(port) as relay, databases.opened(url.replace(f":{port}/", f":{relay.port}/")) as database:
        working = compactor(database, one.store)
        relay.loss = loss
        with pytest.raises(UnavailableError):
            working.step("default", Uid(STUDY), Uid(SERIES), {})
        relay.loss = Loss.NOTHING
        while not working.step("default", Uid(STUDY), Uid(SERIES), {}).is_done:
            pass
    reclaim(one)
    assert has(one, files)
    assert is_sound(one)
    assert len(listed(one)) == 1


def test_what_is_damaged_is_left_where_it_is_and_reported(one: Writing) -> None:
    files = [ct(number) for number in range(8)]
    store_singly(one, files)
    overwrite(one, files[3].instance, 1000)
    overwrite(one, files[5].instance, -1)
    said = " ".join(compact(one).values())
    assert "were changed" in said
    assert "does not end" in said
    assert sorted(one.rows("SELECT live FROM object WHERE live > 0")) == [(1,), (1,), (6,)]
    reclaim(one)
    assert len(listed(one)) == 3
    assert has(one, files[:3] + files[4:5] + files[6:])


class Crowd:
    """Threads that do things over and over until the end; what went wrong is told then."""

    def __init__(self, *works: Callable[[], object]) -> None:
        self._ending = threading.Event()
        self._problems: list[BaseException] = []
        self._threads = [threading.Thread(target=self._work, args=(work,)) for work in works]

    def _work(self, work: Callable[[], object]) -> None:
        try:
            while not self._ending.is_set():
                work()
        except BaseException as error:  # noqa: BLE001 - told at the end
            self._problems.append(error)

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()
        assert self._problems == []


def compact_as_far_as_others_allow(writer: Writing) -> None:
    with suppress(OvertakenError, RolledBackError):
        compact(writer)
    time.sleep(0.01)


def read_late(one: Writing, files: dict[str, DicomFile]) -> None:
    """Read what was looked up a while ago."""
    retrieve = Retrieve(PostgresIndex(one.database), S3Objects(one.store, lambda: 0))
    try:
        pages = list(retrieve.pages(Scope("default", study_uid=Uid(STUDY))))
    except NotFoundError:
        return  # what the page before ended with was deleted
    time.sleep(0.2)
    for version in [version for page in pages for version in page]:
        with suppress(NotFoundError):
            assert retrieve.read(version, 0, version.size) == files[version.instance_uid].part10


def test_everybody_at_once(one: Writing, two: Writing) -> None:
    """Two compact, one stores, one deletes, one reclaims, one reads what it looked up a while ago."""
    files = {file.instance: file for file in (ct(number) for number in range(40))}
    store_singly(one, list(files.values())[:20])
    left = dict(files)
    with Crowd(
        lambda: compact_as_far_as_others_allow(one),
        lambda: compact_as_far_as_others_allow(two),
        lambda: Reclaimer(two.database, two.store).work(timedelta(0)),
        lambda: read_late(one, files),
    ):
        for number in range(20, 40):
            store_singly(one, [ct(number)])
            if number % 3 == 0:
                two.commits.commit([change(Action.DELETE, 1, 1, number - 15)])
                del left[ct(number - 15).instance]
    compact(one)
    reclaim(one)
    assert is_sound(one)
    assert has(one, list(left.values()))
    assert one.rows("SELECT count(*) FROM instance") == [(len(left),)]
    assert sorted(listed(one)) == sorted(key for (key,) in one.rows("SELECT key FROM object"))
