"""Deletion under `kill -9` and loss of power: what was deleted stays gone, all else stays, and holds hold."""

import contextlib
import http.client
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3

from imagerepo.adapters.segments import lines
from tests.faults.test_power_loss import DAMAGES, applied, flushed_log
from tests.harness import segment_editor
from tests.harness.archive import in_segments
from tests.harness.dicom_file import ct, uid
from tests.harness.owners import Holdings, Owners, assert_held
from tests.harness.requests import store
from tests.harness.server import Server
from tests.harness.stored import walk
from tests.harness.web_client import FAILURES, WebClient, get

POINTS = Path(__file__).parent / "kill_points"
STEPS = {"torn": False, "appended": True, "flushed": True, "rows written": True, "rows visible": True}
"""Where a worker dies, and whether what it was doing is done afterwards."""


@pytest.fixture
def points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "points"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(POINTS))
    monkeypatch.setenv("KILL_POINTS", str(folder))
    return folder


def ask(server: Server, method: str, path: str) -> int:
    """The status; 0 if there was no answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.http, timeout=60)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    except FAILURES:
        return 0
    finally:
        connection.close()


def eventually(claim: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < until
        time.sleep(0.02)


def stored(server: Server, *numbers: int) -> bool:
    with contextlib.suppress(*FAILURES), WebClient(server.http) as client:
        files = [ct(number, study=number) for number in numbers]
        return client.stow(*files).stored == {file.instance for file in files}
    return False


def status(server: Server, number: int) -> int:
    found = [0]

    def answered() -> bool:
        with contextlib.suppress(*FAILURES):
            found[0] = get(server.http, f"/image/{ct(number, study=number).instance}")[0]
        return found[0] in {200, 404}

    eventually(answered)
    return found[0]


def serve(tmp_path: Path, workers: int = 1) -> Server:
    return Server(
        tmp_path / "data",
        workers=workers,
        storage__reserve=0,
        storage__segment_size=4 << 20,
        deletion__reclaim_delay=0,
    )


def test_a_worker_killed_between_two_steps_of_a_deletion_did_it_or_did_not(tmp_path: Path, points: Path) -> None:
    with serve(tmp_path) as server:
        for number, (step, is_done) in enumerate(STEPS.items()):
            doomed, kept = 2 * number, 2 * number + 1
            eventually(lambda doomed=doomed, kept=kept: stored(server, doomed, kept))
            (points / f"http.{step}").write_text("worker")
            assert ask(server, "DELETE", f"/dicom-web/studies/{uid(doomed)}?reason={number}") == 0
            assert not (points / f"http.{step}").exists(), f"{step} was not reached"
            assert (status(server, doomed), status(server, kept)) == (404 if is_done else 200, 200), step
            # Asking again is always right, and the study is nobody's any more.
            eventually(lambda doomed=doomed: ask(server, "DELETE", f"/dicom-web/studies/{uid(doomed)}") in {204, 404})
            assert status(server, doomed) == 404
            assert stored(server, doomed)
        assert server.stop() == 0
    there = walk(tmp_path / "data").data_sets
    assert {uid for _, uid, _ in there} == {ct(one, study=one).instance for one in range(2 * len(STEPS))}


@pytest.mark.parametrize("step", ["torn", "flushed"])
def test_a_tree_killed_amid_a_hold_and_a_deletion_finds_at_its_start_what_was_durable(
    tmp_path: Path, points: Path, step: str
) -> None:
    with serve(tmp_path) as server:
        assert stored(server, 1, 2, 3)
        assert ask(server, "PUT", f"/study/{uid(1)}/hold?reason=x") == 204
        (points / f"http.{step}").write_text("tree")
        assert ask(server, "PUT", f"/study/{uid(2)}/hold?reason=x") == 0
        server.wait()
        server.await_end_of_tree()
    with serve(tmp_path) as server:
        assert ask(server, "DELETE", f"/dicom-web/studies/{uid(1)}") == 409
        assert ask(server, "DELETE", f"/dicom-web/studies/{uid(2)}") == (409 if STEPS[step] else 204)
        (points / f"http.{step}").write_text("tree")
        assert ask(server, "DELETE", f"/dicom-web/studies/{uid(3)}") == 0
        server.wait()
        server.await_end_of_tree()
    with serve(tmp_path) as server:
        assert status(server, 3) == (404 if STEPS[step] else 200)
        assert status(server, 1) == 200
        assert server.stop() == 0
    walk(tmp_path / "data")


def kill_often(tmp_path: Path, seed: int, kills: int) -> None:
    rng = random.Random(seed)
    owners = Owners(seed)
    for _ in range(kills):
        with serve(tmp_path, workers=2) as server:
            owners.start(server, 4)
            owners.await_answers(owners.answers + rng.randrange(20, 80))
            time.sleep(rng.random() * 0.05)
            server.kill()
            owners.join()
        # What was under way at the kill is in neither set.
        known = owners.snapshot()
        with in_segments(tmp_path / "data"):
            pass
        assert_held(known, walk(tmp_path / "data").data_sets)


def test_what_was_deleted_stays_gone_and_all_else_stays_over_kills(tmp_path: Path) -> None:
    kill_often(tmp_path, seed=1, kills=4)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 110))
def test_what_was_deleted_stays_gone_and_all_else_stays_over_many_kills(tmp_path: Path, seed: int) -> None:
    kill_often(tmp_path, seed, kills=20)


def flushed(segment: Path, known: Holdings) -> int:
    """The end of the last commit that holds something acknowledged."""
    digests = {(instance, blake3(data_set).digest()) for instance, data_set in known.stored}
    end = 64  # the header
    for found in segment_editor.commits(segment):
        head, journal = lines.parse_body(found.body, segment.name)
        for line in journal:
            said = lines.parse_line(line, "")
            stores = {(one.instance_uid, one.digest) for one in lines.stores(said, head.number)}
            if stores & digests or (said["action"] == "delete" and said["reason"] in known.deletions):
                end = found.record.end
    return end


def lose_power(data: Path, known: Holdings, rng: random.Random) -> str:
    """Damage what was not flushed; says how."""
    said: list[str] = []
    indexed = applied(data)
    for path in segment_editor.segments(data):
        damage = rng.choice(DAMAGES)
        safe = max(flushed(path, known), indexed.get(path.name, 0))
        said.append(f"{path.name} after {safe}: {damage.__name__}")
        damage(path, safe, rng)
    log = data / "index.sqlite-wal"
    if log.exists() and (safe := flushed_log(data)) < log.stat().st_size:
        damage = rng.choice(DAMAGES)
        said.append(f"{log.name} after {safe}: {damage.__name__}")
        damage(log, safe, rng)
    (data / "index.sqlite-shm").unlink(missing_ok=True)
    if rng.random() < 0.3:
        said.append("index gone")
        for path in data.glob("index.sqlite*"):
            path.unlink()
    return ", ".join(said)


def lose_power_often(folder: Path, seed: int, copies: int, cuts: int) -> int:
    rng = random.Random(seed)
    owners = Owners(seed)
    frozen: list[tuple[Path, Holdings]] = []
    with serve(folder, workers=2) as server:
        owners.start(server, 4)
        for number in range(copies):
            owners.await_answers(owners.answers + rng.randrange(20, 100))
            known = owners.snapshot()
            server.freeze()
            frozen.append((folder / f"frozen-{number}", still(known, owners.snapshot())))
            shutil.copytree(server.data, frozen[-1][0])
            server.thaw()
        server.kill()
        owners.join()
    for place, known in frozen:
        for _ in range(cuts):
            copy = folder / "copy"
            shutil.copytree(place, copy)
            how = lose_power(copy, known, rng)
            try:
                with in_segments(copy) as archive:
                    assert archive.commits.commit([store(ct(1))])[0].error is None
                assert_held(known, walk(copy).data_sets)
            except BaseException as error:
                error.add_note(f"seed {seed}, {place.name}: {how}")
                raise
            shutil.rmtree(copy)
    return len(frozen) * cuts


def still(before: Holdings, after: Holdings) -> Holdings:
    """What was so before the server was stopped, and was not being changed when it was."""
    return Holdings(
        {name: one for name, one in before.present.items() if after.present.get(name) == one},
        before.absent & after.absent,
        before.deletions,
        before.stored,
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_deleted_stays_gone_and_all_else_stays_over_losses_of_power(tmp_path: Path, seed: int) -> None:
    assert lose_power_often(tmp_path, seed, copies=4, cuts=5) == 20


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 110))
def test_what_was_deleted_stays_gone_and_all_else_stays_over_many_losses_of_power(tmp_path: Path, seed: int) -> None:
    lose_power_often(tmp_path, seed, copies=8, cuts=8)
