"""Replicas as processes on one database and one store, storing the same at the same moment."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagerepo.adapters.bundles import commits
from imagerepo.adapters.bundles.known import lock_of_study
from imagerepo.model.events import CommitKind
from imagerepo.settings_cluster import Store
from tests.harness import s3
from tests.harness.committing import Writing, writing
from tests.harness.dicom_file import ct
from tests.harness.gateway_relay import Harm, Relay
from tests.harness.requests import store
from tests.testbed.shared import shared_bed

pytestmark = pytest.mark.timeout(300)

Batch = Sequence[tuple[int, dict[str, int]]]


@pytest.fixture
def settings(tmp_path: Path) -> Store:
    return s3.settings(shared_bed(), tmp_path, bucket_prefix="races")


@pytest.fixture
def looking(url: str, settings: Store, tmp_path: Path) -> Iterator[Writing]:
    with writing(url, settings, tmp_path, "looking") as made:
        yield made


class Committer:
    """One process."""

    def __init__(self, url: str, settings: Store, folder: Path, name: str, orders: Sequence[Batch]) -> None:
        words = [url, settings.model_dump_json(), str(folder), name, json.dumps(orders)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.committer", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def go(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        said = self.process.stdout.readline()
        assert said == "ready\n", self.process.stderr and self.process.stderr.read()
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def answers(self) -> list[list]:
        """What was answered until it ended."""
        out, err = self.process.communicate(timeout=120)
        lines = out.splitlines()
        if self.process.returncode == 0:
            assert lines[-1] == "done", err
        return [json.loads(line) for line in lines if line.startswith("[") and line.endswith("]")]


@contextmanager
def committers(
    url: str, settings: Store, folder: Path, orders: Sequence[Sequence[Batch]]
) -> Iterator[list[Committer]]:
    """They begin together."""
    made = [Committer(url, settings, folder, f"c{number}", one) for number, one in enumerate(orders)]
    try:
        for one in made:
            one.go()
        yield made
    finally:
        for one in made:
            one.process.kill()
            one.process.communicate()


def everything_fits(looking: Writing, instances: int) -> None:
    """Sums are those of the rows; each row has bytes; chains are whole."""
    assert looking.rows("SELECT count(*) FROM instance") == [(instances,)]
    for below, above in (("instance", "study"), ("series", "study"), ("instance", "series")):
        wrong = looking.rows(
            f"SELECT a.uid FROM {above} a WHERE a.{below}_count <> "
            f"(SELECT count(*) FROM {below} b WHERE b.{above}_id = a.id)"
        )
        assert wrong == [], (below, above)
    for what in ("study", "series", "instance"):
        assert looking.rows(
            f"SELECT (SELECT coalesce(sum({what}_count), 0) FROM holding) - (SELECT count(*) FROM {what})"
        ) == [(0,)], what
    assert (
        looking.rows(
            'SELECT o.key FROM object o WHERE o.live <> (SELECT count(*) FROM "range" r WHERE r.object_id = o.id) '
            "OR (o.live = 0) <> (o.gone_at IS NOT NULL)"
        )
        == []
    )
    looking.journal.verify(with_bytes=True)


def test_the_same_series_stored_by_four_processes_at_once_is_there_once(
    url: str, settings: Store, looking: Writing, tmp_path: Path
) -> None:
    """Each in an order of its own, in batches and one by one: an instance is stored by one, a duplicate for others."""
    numbers = range(60)
    orders = []
    for size in (1, 4, 16, 60):
        mixed = random.Random(size).sample(numbers, len(numbers))
        orders.append([
            [(number, {"series": number % 3, "size": 4096}) for number in mixed[at : at + size]]
            for at in range(0, len(mixed), size)
        ])  # fmt: skip
    with committers(url, settings, tmp_path, orders) as running:
        answers = [answer for one in running for answer in one.answers()]
    assert Counter((kind, error) for _, kind, _, error in answers) == {
        (CommitKind.STORED, ""): len(numbers),
        (CommitKind.DUPLICATE, ""): 3 * len(numbers),
    }
    assert {version for _, _, version, _ in answers} == {1}
    everything_fits(looking, len(numbers))


def test_different_bytes_under_one_uid_from_four_processes_become_versions_without_gap(
    url: str, settings: Store, looking: Writing, tmp_path: Path
) -> None:
    orders = [[[(1, {"variant": 100 * one + two})] for two in range(6)] for one in range(4)]
    with committers(url, settings, tmp_path, orders) as running:
        answers = [answer for one in running for answer in one.answers()]
    assert [error for *_, error in answers if error] == []
    assert sorted(version for _, _, version, _ in answers) == list(range(1, 25))
    everything_fits(looking, 1)


def test_one_uid_in_two_studies_at_the_same_moment_is_stored_in_one(
    url: str, settings: Store, looking: Writing, tmp_path: Path
) -> None:
    """The same SOP Instance UIDs in a study of each process: no deadlock, and no error but the conflict."""
    count = 24
    orders = []
    for study in (1, 2, 3):
        mixed = random.Random(study).sample(range(count), count)
        batches = [mixed[at : at + 8] for at in range(0, count, 8)]
        orders.append([[(number, {"study": study, "instance_of": 1}) for number in batch] for batch in batches])
    with committers(url, settings, tmp_path, orders) as running:
        answers = [answer for one in running for answer in one.answers()]
    assert Counter(kind for _, kind, _, _ in answers) == {CommitKind.STORED: count, CommitKind.CONFLICT: 2 * count}
    everything_fits(looking, count)


def test_a_process_that_is_killed_loses_nothing_that_it_has_acknowledged(
    url: str, settings: Store, looking: Writing, tmp_path: Path
) -> None:
    """Again and again, at any moment; then all is sent once more, and each instance is there once."""
    batches = [[(number + k, {"size": 20_000}) for k in range(4)] for number in range(0, 400, 4)]
    acknowledged: set[str] = set()
    for turn in range(3):
        with committers(url, settings, tmp_path / str(turn), [batches, batches[::-1]]) as running:
            time.sleep(0.1 + 0.3 * turn)
            running[0].process.send_signal(signal.SIGKILL)
            running[1].process.send_signal(signal.SIGKILL)
            for one in running:
                for instance, _, _, error in one.answers():
                    assert error == ""
                    acknowledged.add(instance)
    assert acknowledged
    files = {file.instance: file for batch in batches for number, words in batch for file in [ct(number, **words)]}
    for instance in acknowledged:
        assert looking.bytes_of(instance) == files[instance].part10
    results = looking.commits.commit([store(file) for file in files.values()])
    assert {one.error for one in results} == {None}
    everything_fits(looking, len(files))


def test_what_took_long_to_store_waits_for_its_study_like_all_else(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large instance was given up at the first look at a study that somebody else had."""
    monkeypatch.setattr(commits, "PATIENCE", 0.1)
    with Relay(shared_bed().plan.s3.endpoint).running() as relay, ThreadPoolExecutor(1) as pool:
        settings = s3.settings(shared_bed(), tmp_path, endpoints=(relay.url,))
        with writing(url, settings, tmp_path, "one") as one:
            one.commits.commit([store(ct(1))])
            relay.harm(Harm.HOLD, method="PUT")
            storing = pool.submit(one.commits.commit, [store(ct(2))])
            assert relay.held.wait(30)
            with one.database.transaction() as other:
                other.run("SELECT pg_advisory_xact_lock(%s)", (lock_of_study("default", ct(2).study),))
                time.sleep(0.2)
                relay.go_on.set()
                time.sleep(0.5)
            (result,) = storing.result()
            assert result.kind is CommitKind.STORED
