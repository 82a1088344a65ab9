"""`kill -9` between any two steps of a commit: what is durable is found again, what is torn is gone."""

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.dicom_file import DicomFile, ct
from tests.harness.dimse_client import SUCCESS, DimseClient, EndedError
from tests.harness.load import Load, assert_survived
from tests.harness.server import Server
from tests.harness.stored import walk
from tests.harness.web_client import FAILURES, WebClient, get

POINTS = Path(__file__).parent / "kill_points"
THRESHOLD = 128 << 10  # bytes from which an instance gets a file of its own


@dataclass(frozen=True)
class Step:
    """Where a worker dies, and what has to be there afterwards though nobody was told."""

    name: str
    is_durable: bool
    size: int = 4096  # bytes of pixels


STEPS = [
    Step("filed", is_durable=False, size=2 * THRESHOLD),
    Step("torn", is_durable=False),
    # Not flushed, but whole in the page cache, which outlives a process.
    Step("appended", is_durable=True),
    Step("flushed", is_durable=True),
    Step("rows written", is_durable=True),
    Step("rows visible", is_durable=True),
]


@pytest.fixture
def points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "points"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(POINTS))
    monkeypatch.setenv("KILL_POINTS", str(folder))
    return folder


def serve(tmp_path: Path) -> Server:
    return Server(tmp_path / "data", workers=1, storage__reserve=0, storage__file_threshold=THRESHOLD)


def by_dimse(server: Server, files: list[DicomFile]) -> bool:
    """Whether all were acknowledged."""
    try:
        with DimseClient(server.dimse) as client:
            return all(client.store(file.instance, file.data_set) == SUCCESS for file in files)
    except EndedError:
        return False


def by_stow(server: Server, files: list[DicomFile]) -> bool:
    try:
        with WebClient(server.http) as client:
            return client.stow(*files).stored == {file.instance for file in files}
    except FAILURES:
        return False


DOORS = {"dimse": by_dimse, "http": by_stow}


def eventually(claim: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not claim():
        assert time.monotonic() < until
        time.sleep(0.02)


def status(server: Server, file: DicomFile) -> int:
    """Of reading it, from a worker that runs."""
    found = [0]

    def answered() -> bool:
        with contextlib.suppress(*FAILURES):
            found[0] = get(server.http, f"/image/{file.instance}")[0]
        return found[0] in {200, 404}

    eventually(answered)
    return found[0]


def kill_at_each_step(server: Server, points: Path, door: str, load: Load) -> None:
    send, first = DOORS[door], 10 * list(DOORS).index(door)
    for number, step in enumerate(STEPS):
        before, after = ct(number, study=first + 1), ct(number, study=first + 2)
        studies = [first + 3, *([first + 4] if door == "http" else [])]
        doomed = [ct(number, study=study, size=step.size) for study in studies]
        load.sent.update({file.instance: {file.data_set} for file in (before, after, *doomed)})
        assert send(server, [before])  # a segment is open
        (points / f"{door}.{step.name}").write_text("worker")
        assert not send(server, doomed)
        assert not (points / f"{door}.{step.name}").exists(), f"{step.name} was not reached"
        eventually(lambda after=after: send(server, [after]))
        found = {status(server, file) for file in doomed}
        assert found == ({200} if step.is_durable else {404}), step.name
        # Sending again is always right.
        eventually(lambda doomed=doomed: send(server, doomed))
        load.acknowledged += [before, after, *doomed]


def test_a_worker_killed_between_two_steps_loses_nothing_durable_and_leaves_nothing_torn(
    tmp_path: Path, points: Path
) -> None:
    loads = {door: Load(1) for door in DOORS}
    with serve(tmp_path) as server:
        with ThreadPoolExecutor(len(DOORS)) as pool:
            for done in [pool.submit(kill_at_each_step, server, points, door, load) for door, load in loads.items()]:
                done.result()
        assert server.stop() == 0
    stored = walk(tmp_path / "data")
    whole = Load(1, sent={uid: sent for load in loads.values() for uid, sent in load.sent.items()})
    acknowledged = [file for load in loads.values() for file in load.acknowledged]
    assert_survived(whole, acknowledged, stored.data_sets)
    assert len(stored.data_sets) == len(acknowledged)


def test_a_tree_killed_between_two_steps_finds_at_its_start_what_was_durable(tmp_path: Path, points: Path) -> None:
    load = Load(1)
    killed = [
        (door, step)
        for step in STEPS
        for door in DOORS
        if (step.name, door) in {("torn", "http"), ("flushed", "dimse")}
    ]
    assert len(killed) == 2
    for number, (door, step) in enumerate(killed):
        before, doomed = ct(number, study=1), ct(number, study=2)
        load.sent |= {file.instance: {file.data_set} for file in (before, doomed)}
        with serve(tmp_path) as server:
            assert DOORS[door](server, [before])
            (points / f"{door}.{step.name}").write_text("tree")
            assert not DOORS[door](server, [doomed])
            server.wait()
            server.await_end_of_tree()
        load.acknowledged += [before, *([doomed] if step.is_durable else [])]
    with serve(tmp_path) as server:
        assert server.stop() == 0
    stored = walk(tmp_path / "data")
    assert_survived(load, load.acknowledged, stored.data_sets)
    assert len(stored.data_sets) == len(load.acknowledged)
