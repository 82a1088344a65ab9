"""`imagerepo worker` as people start it: any number, ended as faults end them."""

import json
import re
import secrets
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.asking import command
from tests.harness import s3
from tests.harness.committing import Writing, writing
from tests.harness.dicom_file import ct, uid
from tests.harness.requests import store
from tests.harness.server import COMMAND
from tests.testbed import replica_settings
from tests.testbed import s3 as testbed_s3
from tests.testbed.bed import Bed
from tests.testbed.replica_settings import Shared

pytestmark = pytest.mark.timeout(300)

UPKEEP = {"sweep_interval": 1, "sweep_grace": 1, "scrub_interval": 1, "scrub_rate": 64 << 20}


@dataclass
class Place:
    """A cluster's settings, and a writer that stores to it."""

    settings: Path
    one: Writing

    def tasks(self, *options: str) -> list[dict[str, Any]]:
        said = command("tasks", "list", "--config", str(self.settings), "--json", *options)
        return json.loads(said)["tasks"]


@pytest.fixture
def place(bed: Bed, tmp_path: Path) -> Iterator[Place]:
    prefix = f"w-{secrets.token_hex(4)}"
    with bed.postgres.database() as database:
        written = replica_settings.write(tmp_path, bed.plan, Shared(database, prefix))
        values = yaml.safe_load(written.read_text(encoding="utf-8"))
        values["cluster"]["upkeep"] = UPKEEP
        values["cluster"]["compaction"] = {"quiet_after": 1, "keep": 0}
        values["retry"] = {"first": 0.1, "longest": 0.5}
        written.write_text(yaml.safe_dump(values), encoding="utf-8")
        replica_settings.upgrade_schema(written)
        url = bed.plan.postgres.url.removesuffix(bed.plan.postgres.database) + database
        with writing(url, s3.settings(bed, tmp_path, bucket_prefix=prefix), tmp_path, "one") as one:
            one.store.check(["default"])
            yield Place(written, one)
            s3.empty(one.store, "default")


@dataclass
class Worker:
    process: subprocess.Popen[str]
    port: int

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@contextmanager
def working(settings: Path) -> Iterator[Worker]:
    """A worker that has begun to work; killed where it still runs."""
    log = (settings.parent / f"worker-{secrets.token_hex(4)}.log").open("w+")
    process = subprocess.Popen(
        [str(COMMAND), "worker", "--config", str(settings), "--listen", "127.0.0.1:0"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)/metrics", said)
        assert found is not None, said + Path(log.name).read_text()
        yield Worker(process, int(found[1]))
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        log.close()


def put_unnamed(one: Writing, number: int) -> str:
    name = f"{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
    return one.store.put(f"default/{uid(number)}/{uid(number, 1)}/{name}", [b"nobody's"], institution="default").key


def keys(one: Writing) -> set[str]:
    return {found.key for found in one.store.list(one.store.bucket("default"), "", "")}


def await_true(condition: Callable[[], bool], within: float = 60.0) -> None:
    until = time.monotonic() + within
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.1)


def value(scraped: str, name: str) -> float:
    return sum(float(line.rpartition(" ")[2]) for line in scraped.splitlines() if line.startswith(name))


def test_workers_keep_a_cluster_in_order_whichever_of_them_is_killed(place: Place) -> None:
    one = place.one
    one.commits.commit([store(ct(number, study=number)) for number in range(1, 6)])
    named = keys(one)
    with working(place.settings) as first, working(place.settings) as second:
        assert first.get("/healthz") == (200, "ok\n")
        await_true(lambda: second.get("/readyz")[0] == 200)
        assert second.get("/elsewhere")[0] == 404
        for number in range(6, 9):
            put_unnamed(one, number)
        await_true(lambda: keys(one) == named)
        await_true(lambda: one.rows("SELECT count(*) FROM copy WHERE verified_at IS NULL") == [(0,)])
        metrics = [worker.get("/metrics")[1] for worker in (first, second)]
        assert sum(value(text, "imagerepo_swept_objects_total") for text in metrics) == 3
        assert sum(value(text, "imagerepo_scrubbed_bytes_total") for text in metrics) > 0
        first.process.kill()
        put_unnamed(one, 9)
        await_true(lambda: keys(one) == named)  # within a lease of half a minute
        assert second.end() == 0
    assert one.rows("SELECT count(*) FROM task WHERE leased_until > 0 AND owner = "
                    "(SELECT owner FROM task WHERE kind = 'sweep')") == [(0,)]  # fmt: skip
    assert {(task["kind"], task["state"]) for task in place.tasks()} >= {("sweep", "waiting"), ("scrub", "waiting")}


@pytest.mark.long
def test_what_is_damaged_is_parked_and_looked_at_again_when_a_person_says_so(place: Place, bed: Bed) -> None:
    one = place.one
    one.commits.commit([store(ct(1)), store(ct(2, study=2))])
    ((key, at),) = one.rows(
        'SELECT o.key, r."offset" + r.length - 1 FROM object o JOIN "range" r ON r.object_id = o.id '
        "WHERE o.key LIKE %s",
        f"default/{uid(2)}/%",
    )
    with testbed_s3.client(bed.plan.s3) as client, working(place.settings) as worker:
        where = {"Bucket": one.store.bucket("default"), "Key": key}
        body = client.get_object(**where)["Body"].read()
        client.put_object(**where, Body=body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
        await_true(lambda: bool(place.tasks("--kind", "scrub", "--state", "parked")))
        (task,) = place.tasks("--kind", "scrub", "--state", "parked")
        assert key in task["problem"]
        assert value(worker.get("/metrics")[1], 'imagerepo_scrubbed_copies_total{outcome="damaged"}') == 1
        client.put_object(**where, Body=body)
        command("tasks", "retry", str(task["id"]), "--config", str(place.settings))
        await_true(lambda: not place.tasks("--kind", "scrub", "--queue", "default"))
        assert worker.end() == 0


@pytest.mark.long
def test_a_study_is_read_again_on_demand(place: Place) -> None:
    one = place.one
    one.commits.commit([store(ct(1))])
    one.rows("UPDATE study SET patient_name = 'WRONG' RETURNING 1")
    said = command("reindex", uid(1), "--config", str(place.settings))
    assert "a worker reads it again" in said
    with working(place.settings) as worker:
        await_true(lambda: one.rows("SELECT patient_name FROM study") == [("DOE^JANE",)])
        assert worker.end() == 0


def test_what_came_singly_is_put_together_once_nothing_more_comes(place: Place) -> None:
    one = place.one
    for number in range(5):
        one.commits.commit([store(ct(number))])
    with working(place.settings) as worker:
        await_true(lambda: one.rows("SELECT live FROM object WHERE live > 0") == [(5,)])
        await_true(lambda: {task["queue"] for task in place.tasks("--kind", "compact")} == {"all institutions"})
        assert worker.end() == 0


def refused(*arguments: str) -> str:
    done = subprocess.run([str(COMMAND), *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.long
def test_what_a_worker_cannot_work_with_it_says_in_one_sentence(place: Place) -> None:
    config = str(place.settings)
    assert "cluster" in refused("worker")
    assert "--listen" in refused("worker", "--config", config, "--listen", "nowhere")
    place.one.commits.commit([store(ct(1))])
    assert "no study" in refused("reindex", uid(77), "--config", config)
    place.one.rows("UPDATE index_version SET version_num = '0003' RETURNING 1")
    assert "schema" in refused("worker", "--config", config)
