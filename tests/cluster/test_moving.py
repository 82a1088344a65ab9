"""`imagerepo import --from-data`: an embedded repository becomes a cluster's, with its versions, holds and journal."""

import json
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from imagerepo.adapters.bundles.feed import BundleFeed
from imagerepo.adapters.segments.folder import FolderLock
from imagerepo.model.events import Action
from tests.cluster.moving import Target, answers, lines_of, write_settings
from tests.harness import databases, s3, segment_editor
from tests.harness.archive import Archive, in_segments
from tests.harness.committing import writing
from tests.harness.database_relay import Loss, between
from tests.harness.dicom_file import ct, uid
from tests.harness.requests import change, journal, spooled, store
from tests.harness.server import COMMAND
from tests.harness.stored import walk
from tests.testbed.shared import shared_bed, shared_postgres
from tests.wire.importing import Run, importer

__all__ = ["importer"]

pytestmark = pytest.mark.timeout(300)

LARGE = ct(1, study=7, size=9 << 20)


@pytest.fixture
def target(url: str, tmp_path: Path) -> Iterator[Target]:
    settings = s3.settings(shared_bed(), tmp_path)
    with databases.opened(url) as database, s3.opened(settings) as opened:
        yield Target(database, opened, settings, write_settings(tmp_path, url, settings))


def fill(one: Archive) -> None:
    """Versions, deletions, holds and what else a journal has, by two writers."""
    for number in range(30):
        writer = one.commits if number % 3 else one.other
        writer.commit([store(ct(number, study=1 + number % 4, series=number % 2)), journal(query=f"q{number}")])
    one.other.commit([store(ct(number, study=1, series=0, variant=1)) for number in (4, 8, 12)])
    large = spooled(one.commits, LARGE)
    one.commits.commit([large])
    one.commits.commit([change(Action.HOLD, 2), change(Action.HOLD, 3)])
    one.commits.commit([change(Action.DELETE, 4), change(Action.DELETE, 1, 0, 8), change(Action.RELEASE, 3)])
    one.other.commit([store(ct(3, study=4, series=1, variant=5)), store(ct(100, study=9, size=300_000))])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that no server uses."""
    data = tmp_path / "data"
    with in_segments(data) as one:
        fill(one)
    return data


def moved(run: Run, data: Path, target: Target, *options: object, status: int = 0) -> dict[str, Any]:
    """What the command says for programs."""
    said = run("--from-data", data, "--config", target.settings, "--json", *options, status=status)
    return json.loads(said.splitlines()[0])


def is_same(data: Path, target: Target) -> bool:
    """Whether the cluster has what the folder has, byte for byte, and says the same of it."""
    assert target.walk().data_sets == walk(data).data_sets
    assert target.answers() == answers(data)
    assert target.carried() == lines_of(data)
    verified = target.journal.verify(with_bytes=True)
    return verified.entries == len(lines_of(data))


def test_all_of_a_data_folder_is_there_afterwards_and_a_second_run_does_nothing(
    folder: Path, target: Target, importer: Run
) -> None:
    stored = len(walk(folder).data_sets)
    first = moved(importer, folder, target)
    assert (first["stored"], first["already"], first["refused"]) == (stored, 0, 0)
    assert (first["entries"], first["complete"]) == (len(lines_of(folder)), True)
    assert is_same(folder, target)
    objects = target.objects()
    assert objects <= 10  # those of a series together
    second = moved(importer, folder, target)
    assert (second["stored"], second["entries"], second["complete"]) == (0, 0, True)
    assert target.objects() == objects
    assert is_same(folder, target)
    assert BundleFeed(target.database).since({}).arrived == []  # which is forwarded


def test_versions_go_on_behind_those_that_were_given_in_the_folder(
    folder: Path, target: Target, importer: Run, tmp_path: Path, url: str
) -> None:
    moved(importer, folder, target)
    again, changed = ct(8, study=1, series=0, variant=2), ct(4, study=1, series=0, variant=7)
    with writing(url, target.store_settings, tmp_path, "replica/one") as replica:
        results = replica.commits.commit([store(again), store(changed), store(ct(100, study=9, size=300_000))])
    assert [(one.kind.value, one.version) for one in results] == [("stored", 3), ("stored", 3), ("duplicate", 1)]


def test_what_goes_on_in_the_folder_is_moved_by_another_run(folder: Path, target: Target, importer: Run) -> None:
    moved(importer, folder, target)
    with in_segments(folder) as one:
        one.commits.commit([store(ct(200, study=1, series=0)), store(ct(5, study=2, series=1, variant=3))])
        one.other.commit([change(Action.DELETE, 3, 0), change(Action.DELETE, 1, 0, 4), change(Action.RELEASE, 2)])
        one.other.commit([store(ct(2, study=3, series=0))])
    assert moved(importer, folder, target)["stored"] == 3
    assert is_same(folder, target)


def test_a_study_that_was_released_and_then_deleted_in_the_folder_goes(
    folder: Path, target: Target, importer: Run
) -> None:
    moved(importer, folder, target)
    with in_segments(folder) as one:
        one.commits.commit([change(Action.RELEASE, 2)])
        one.commits.commit([change(Action.DELETE, 2)])
    assert moved(importer, folder, target)["complete"]
    assert is_same(folder, target)


def test_a_hold_that_was_set_here_is_not_lifted_by_the_folder(
    folder: Path, target: Target, importer: Run, tmp_path: Path, url: str
) -> None:
    moved(importer, folder, target)
    with writing(url, target.store_settings, tmp_path, "replica/one") as replica:
        replica.commits.commit([change(Action.RELEASE, 2), change(Action.HOLD, 2), change(Action.HOLD, 4)])
    with in_segments(folder) as one:
        one.commits.commit([change(Action.RELEASE, 2), change(Action.HOLD, 1), change(Action.HOLD, 3)])
        one.commits.commit([change(Action.RELEASE, 3)])
    assert moved(importer, folder, target)["complete"]
    held = target.rows("SELECT study_uid FROM hold WHERE held = 1 ORDER BY study_uid")
    assert held == [(uid(study),) for study in (1, 2, 4)]


def test_what_came_by_another_way_stays_as_it_is(
    folder: Path, target: Target, importer: Run, tmp_path: Path, url: str
) -> None:
    """The same bytes count as there; others under the same number are told; a deletion of the folder's spares them."""
    same, other, elsewhere = ct(5, study=2, series=1), ct(9, study=2, series=1, variant=9), ct(900, study=4)
    with writing(url, target.store_settings, tmp_path, "replica/one") as replica:
        replica.commits.commit([store(same), store(other), store(elsewhere)])
        report = tmp_path / "report"
        told = moved(importer, folder, target, "--report", report, status=1)
        assert (told["already"], told["refused"], told["complete"]) == (1, 1, True)
        (refused,) = map(json.loads, report.read_text().splitlines())
        assert other.instance in refused["place"]
        assert "other bytes" in refused["reason"]
        assert replica.bytes_of(other.instance) == other.part10
        assert replica.bytes_of(elsewhere.instance) == elsewhere.part10
    assert target.rows("SELECT count(*) FROM version")[0][0] == len(walk(folder).data_sets) + 1
    target.journal.verify(with_bytes=True)


def test_what_is_damaged_in_the_folder_is_told_and_the_rest_moved(folder: Path, target: Target, importer: Run) -> None:
    before = walk(folder).data_sets
    hurt = ct(5, study=2, series=1)
    for path in segment_editor.segments(folder):
        at = path.read_bytes().find(hurt.pixels[1000:2000])
        if at > 0:
            segment_editor.flip(path, at)
    told = moved(importer, folder, target, status=1)
    assert (told["refused"], told["stored"]) == (1, len(before) - 1)
    assert hurt.instance in told["refusals"][0]["place"]
    assert target.walk().data_sets == {name: one for name, one in before.items() if name[1] != hurt.instance}


def run_once(target: Target, data: Path, until: Callable[[], bool], later: float = 0.0) -> bool:
    """Run the command, killed so many seconds after something is so; whether it came to its end before."""
    command = [str(COMMAND), "import", "--from-data", str(data), "--config", str(target.settings)]
    running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while running.poll() is None and not until():
        time.sleep(0.005)
    time.sleep(later)
    running.kill()
    return running.wait() == 0


def many(data: Path, lots: int) -> None:
    """A folder that takes some transactions."""
    with in_segments(data) as one:
        for start in range(0, lots * 1000, 50):
            one.commits.commit([store(ct(number, study=number % 7, size=640)) for number in range(start, start + 50)])
            if start % 400 == 0:
                one.other.commit([change(Action.DELETE, start // 400 % 7)])


@pytest.mark.parametrize("lots", [2, pytest.param(12, marks=pytest.mark.long)])
def test_killed_at_any_moment_it_goes_on_where_it_was(target: Target, tmp_path: Path, lots: int) -> None:
    data = tmp_path / "many"
    many(data, lots)
    rng = random.Random(lots)
    for _ in range(lots - 1):
        before = target.rows("SELECT count(*) FROM journal")
        gone_on = lambda before=before: target.rows("SELECT count(*) FROM journal") != before  # noqa: E731
        run_once(target, data, gone_on, rng.random() * 0.5)
    assert run_once(target, data, lambda: False)
    assert is_same(data, target)


def test_a_commit_whose_answer_is_lost_is_not_made_twice(
    folder: Path, url: str, tmp_path: Path, importer: Run
) -> None:
    settings = s3.settings(shared_bed(), tmp_path)
    with between(shared_postgres().plan.postgres.port) as relay, ExitStack() as opened:
        port = shared_postgres().plan.postgres.port
        through = write_settings(tmp_path, url.replace(f":{port}/", f":{relay.port}/"), settings)
        database, opened_store = opened.enter_context(databases.opened(url)), opened.enter_context(s3.opened(settings))
        target = Target(database, opened_store, settings, through)
        relay.loss = Loss.ANSWER_TO_COMMIT
        later = threading.Timer(2.0, setattr, (relay, "loss", Loss.NOTHING))
        later.start()
        assert moved(importer, folder, target)["complete"]
        later.join()
        assert is_same(folder, target)


def test_a_folder_on_which_a_server_runs_is_not_moved(folder: Path, target: Target, importer: Run) -> None:
    with FolderLock(folder):
        said = importer("--from-data", folder, "--config", target.settings, status=1)
    assert "another imagerepo runs on" in said
    assert target.rows("SELECT count(*) FROM journal") == [(0,)]


def test_what_cannot_be_moved_is_refused_before_anything_is(
    folder: Path, target: Target, importer: Run, tmp_path: Path, url: str
) -> None:
    def refused(*arguments: object) -> str:
        said = importer(*arguments, status=1)
        assert target.rows("SELECT count(*) FROM journal") == [(0,)]
        return said

    to = ("--config", target.settings)
    assert "is no data folder" in refused("--from-data", tmp_path, *to)
    assert "cluster: " in refused("--from-data", folder)
    assert "--from-data goes with" in refused("--from-data", folder, *to, "--to", "http://127.0.0.1:1")
    assert "--patience" in refused("--from-data", folder, *to, "--patience", 7200)
    others = write_settings(tmp_path, url, target.store_settings, institutions=[{"id": "north"}])
    assert "institutions: the data folder has default" in refused("--from-data", folder, "--config", others)


def test_a_journal_that_is_not_whole_is_not_carried_over(folder: Path, target: Target, importer: Run) -> None:
    first = segment_editor.commits(segment_editor.segments(folder)[0])[0]
    segment_editor.forge(first, lambda body: body.replace(b"ae:TEST", b"ae:FAKE"))
    said = importer("--from-data", folder, "--config", target.settings, status=1)
    assert "cannot be carried over as it is" in said
    assert target.rows("SELECT count(*) FROM journal") == [(0,)]


def test_two_copies_of_a_folder_that_went_on_for_themselves_are_told_apart(
    folder: Path, target: Target, importer: Run, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for data, number in ((folder, 300), (copy, 301)):
        with in_segments(data) as one:
            one.commits.commit([store(ct(number))])
    moved(importer, folder, target)
    assert "copies of one" in importer("--from-data", copy, "--config", target.settings, status=1)
    assert is_same(folder, target)
