"""A rebuild of the database that is ended, or asked for as people ask for it."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from imagerepo.adapters.bundles import ledger
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres import schema
from imagerepo.errors import UnavailableError
from imagerepo.model.events import OnDifference
from imagerepo.model.rebuilt import Rebuilt
from imagerepo.settings import load
from imagerepo.settings_cluster import Store
from tests.cluster import asking
from tests.cluster.replicas import DIRECT, Replicas, replicas
from tests.harness import databases, s3
from tests.harness.committing import Writing, writing
from tests.harness.dicom_file import ct, uid
from tests.harness.ledgers import refuse
from tests.harness.rebuilding import answers, rebuild, settle
from tests.harness.receiver import await_
from tests.harness.requests import store
from tests.harness.web_client import WebClient
from tests.testbed.bed import Bed
from tests.testbed.s3 import client
from tests.testbed.shared import shared_bed

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def settings(tmp_path: Path) -> Store:
    return s3.settings(shared_bed(), tmp_path)


@pytest.fixture
def lost(url: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    """The database that is going to be lost."""
    with writing(url, settings, tmp_path, "lost") as made:
        yield made


@pytest.mark.long
def test_one_that_was_killed_goes_on(lost: Writing, settings: Store, tmp_path: Path) -> None:
    for study in range(40):
        lost.commits.commit([store(ct(number, study=study)) for number in range(2)])
    settle(lost)
    lost.commits.commit([store(ct(100 + number, study=number)) for number in range(3)])
    expected = answers(lost)[2:]
    with databases.with_schema() as url:
        for after in (0, 1, 5, 12):
            with pytest.raises(EndedError):
                rebuild(url, settings, tmp_path, ending(after))
            with databases.opened(url) as database, pytest.raises(UnavailableError, match="index rebuild"):
                schema.check(database)
        for seconds in itertools.count(1):  # until one is faster
            if not is_killed(url, settings, tmp_path, 0.4 * seconds) or is_complete(url):
                break
        with writing(url, settings, tmp_path, "anew") as made:
            schema.check(made.database)
            assert answers(made)[2:] == expected
            made.journal.verify(with_bytes=True)


class EndedError(Exception):
    pass


@pytest.mark.long
def test_one_that_was_ended_after_it_took_up_a_duplicate_goes_on(
    lost: Writing, settings: Store, tmp_path: Path
) -> None:
    """As of two objects of one instance, of which a replica put the first, and was killed before it answered."""
    lost.commits.commit([store(ct(1))])
    ((bucket, key),) = lost.rows("SELECT store, key FROM object")
    with client(shared_bed().plan.s3) as made:
        made.copy_object(
            Bucket=bucket, Key=f"{key[:-1]}{'0' if key[-1] != '0' else '1'}", CopySource=f"{bucket}/{key}"
        )
    lost.commits.commit([store(ct(number, study=2, size=640)) for number in range(256)])
    lost.commits.commit([store(ct(1, study=3), "other")])

    def ends(institution: str) -> OnDifference:
        if institution == "other":
            raise EndedError
        return OnDifference.VERSION

    with databases.with_schema() as url:
        with pytest.raises(EndedError):
            rebuild(url, settings, tmp_path, on_difference=ends)
        said = rebuild(url, settings, tmp_path)
        assert (said.recovered, said.is_whole) == (1, True)
        with writing(url, settings, tmp_path, "anew") as anew:
            assert anew.bytes_of(ct(1).instance) == ct(1).part10
            assert anew.rows("SELECT count(*) FROM version") == [(258,)]


def ending(after: int) -> Callable[[Rebuilt], None]:
    """Ends a rebuild that has told so often how far it is."""
    told = itertools.count()

    def tell(_rebuilt: Rebuilt) -> None:
        if next(told) == after:
            raise EndedError

    return tell


def is_killed(url: str, settings: Store, folder: Path, seconds: float) -> bool:
    """Run a rebuild in a process of its own; `kill -9` it after a while, unless it has come to its end."""
    await_(lambda: not connected(url))
    command = [sys.executable, "-m", "tests.cluster.rebuilder", url, settings.model_dump_json(), str(folder)]
    with subprocess.Popen(command) as process:
        try:
            assert process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            return True
    return False


def is_complete(url: str) -> bool:
    """Whether replicas may use a database; also that of a rebuild that was killed when all was done."""
    try:
        with databases.opened(url) as database:
            schema.check(database)
    except UnavailableError:
        return False
    return True


def connected(url: str) -> int:
    """How many connections a database has; those of who was killed end in a moment."""
    with databases.superuser() as connection:
        (found,) = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (url.rpartition("/")[2],)
        ).fetchone()
    return found


@pytest.mark.long
def test_a_replica_answers_what_it_answered_before_its_database_was_dropped(bed: Bed, tmp_path: Path) -> None:
    files = [ct(number, study=study, series=number % 2, size=20_000) for study in (1, 2, 3) for number in range(9)]
    with replicas(bed, tmp_path) as running:
        running.start("replica-1")
        with WebClient(running.http) as client:
            assert client.stow(*files).status == 200
            assert client.stow(*(ct(0, study=study, series=0, variant=study) for study in (1, 2, 3))).status == 200
        for below in (uid(2), f"{uid(3)}/series/{uid(3, 1)}"):
            assert asking.delete(running.servers["replica-1"], f"/dicom-web/studies/{below}") == 204
        before = asked(running)
        settings = ("--config", str(running.settings))
        entries = asking.command("audit", "export", *settings).splitlines()
        await_(lambda: kept(running) >= len(entries))
        running.kill("replica-1")
        with bed.postgres._as_superuser() as connection:
            drop(connection, running)
        asking.command("schema", "upgrade", *settings)
        asking.command("index", "rebuild", *settings)
        running.start("replica-1")
        assert asked(running) == before
        assert asking.command("audit", "export", *settings).splitlines()[: len(entries)] == entries
        asking.command("audit", "verify", "--bytes", *settings)
        assert json.loads(asking.command("fsck", "--json", *settings))["findings"] == []


def asked(running: Replicas) -> list[bytes]:
    """What a replica answers to searches, and every instance that it has."""
    with WebClient(running.servers["replica-1"].http, source=DIRECT) as client:
        found = [
            client.get(f"/dicom-web/{level}?limit=1000&includefield=all")
            for level in ("studies", "series", "instances")
        ]
        assert [status for status, _ in found] == [200] * len(found)
        uids = [one["00080018"]["Value"][0] for one in json.loads(found[-1][1])]
        return [body for _, body in found] + [client.get(f"/image/{one}")[1] for one in uids]


def kept(running: Replicas) -> int:
    """Lines that are in the ledger."""
    shared = load(running.settings, {}).cluster
    assert shared is not None
    with closing(S3Store(shared.store)) as store_:
        return sum(one.lines.count(b"\n") + 1 for one in ledger.read(store_, "default", refuse))


def drop(connection: psycopg.Connection, running: Replicas) -> None:
    """Have another database, with nothing in it, in the place of that of the replicas."""
    shared = load(running.settings, {}).cluster
    assert shared is not None
    name, owner = shared.database.url.rpartition("/")[2], shared.database.url.partition("//")[2].partition("@")[0]
    connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), sql.Identifier(owner)))
