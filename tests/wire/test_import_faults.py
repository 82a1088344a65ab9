"""`imagerepo import` from servers that fail, and killed in the middle: nothing is lost, and the next run goes on."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from imagerepo.dicomweb import storing
from tests.harness.dicom_file import ct
from tests.harness.server import Server
from tests.harness.store_peer import Asked, Behaviour, Reply, StorePeer, answer, store_peer
from tests.harness.stored import walk
from tests.wire.importing import Run, imported, importer

__all__ = ["importer"]

COUNT = 12


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return files(tmp_path / "in", range(COUNT))


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storing, "_FIRST_PAUSE", 0.01)


def files(folder: Path, numbers: Sequence[int], size: int = 2048) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"{number:04}").write_bytes(ct(number, size=size).part10)
    return folder


def whole(peer: StorePeer, count: int = COUNT) -> bool:
    return peer.stored == {ct(number).instance: ct(number).part10 for number in range(count)}


@pytest.mark.parametrize(
    "reply",
    [
        Reply(503, b"busy", {"Retry-After": "1"}),
        Reply(429),
        Reply(507, b"no room"),
        Reply(502),
        Reply(500, b"oops"),
        Reply(408),
        Reply(hang_up=True),
    ],
)
def test_what_passes_is_waited_for(reply: Reply, source: Path, importer: Run) -> None:
    with store_peer(lambda asked: reply if asked.number <= 2 else None) as peer:
        said = imported(importer, source, "--to", peer.root)
        assert (said["stored"], said["refused"]) == (COUNT, 0)
        assert whole(peer)
        assert peer.asked[0].path == "/dicomweb/studies"


def test_files_of_one_series_come_in_one_request(tmp_path: Path, importer: Run) -> None:
    source = tmp_path / "in"
    source.mkdir()
    for number in range(100):  # in turns, as hashed names put them
        (source / f"{number:03}").write_bytes(ct(number, series=number % 2).part10)
    with store_peer() as peer:
        assert imported(importer, source, "--to", peer.root, "--jobs", 1)["stored"] == 100
        assert len(peer.asked) == 1
        series = [uid.rsplit(".", 1)[0] for uid in peer.asked[0].instances]
        assert series == sorted(series)


@pytest.mark.parametrize(
    "reply", [Reply(401), Reply(403), Reply(404), Reply(405), Reply(302, headers={"Location": "/x"})]
)
def test_what_does_not_pass_ends_it_at_once(reply: Reply, source: Path, importer: Run) -> None:
    with store_peer(lambda _asked: reply) as peer:
        said = importer(source, "--to", peer.root, "--jobs", 1, status=1)
        assert str(reply.status) in said
        assert len(peer.asked) == 1


def test_a_server_that_does_nothing_is_not_waited_for_for_ever_and_the_next_run_goes_on(
    source: Path, importer: Run
) -> None:
    def behave(asked: Asked) -> Reply | None:
        return Reply(503, b"busy") if asked.number > 1 else Reply(202, answer(asked.instances[:5]))

    with store_peer(behave) as peer:
        said = importer(source, "--to", peer.root, "--patience", 0.5, status=1)
        assert "nothing was stored for 0.5 s" in said
        assert "run it again" in said
        peer.behave = lambda _asked: None
        assert imported(importer, source, "--to", peer.root)["stored"] == COUNT


def test_an_instance_at_which_a_server_falls_over_is_found_and_the_others_are_stored(
    source: Path, importer: Run
) -> None:
    poison = ct(7).instance

    def behave(asked: Asked) -> Reply | None:
        return Reply(hang_up=True) if poison in asked.instances else None

    with store_peer(behave) as peer:
        said = imported(importer, source, "--to", peer.root, status=1)
        assert (said["stored"], said["refused"]) == (COUNT - 1, 1)
        assert [Path(one["place"]).name for one in said["refusals"]] == ["0007"]


def test_a_limit_of_a_request_is_found_and_kept_to(tmp_path: Path, importer: Run) -> None:
    source = files(tmp_path / "in", range(40), size=20_000)

    def behave(asked: Asked) -> Reply | None:
        return Reply(413, b"too large") if int(asked.headers["Content-Length"]) > 100_000 else None

    with store_peer(behave) as peer:
        assert imported(importer, source, "--to", peer.root, "--jobs", 1)["stored"] == 40
        assert len(peer.stored) == 40
        (tmp_path / "in" / "large").write_bytes(ct(99, size=200_000).part10)
        said = imported(importer, source, "--to", peer.root, status=1)
        assert (said["noted"], said["refused"]) == (40, 1)
        assert "413" in said["refusals"][0]["reason"]


def test_each_instance_of_an_answer_has_its_own_reason(source: Path, importer: Run) -> None:
    def behave(asked: Asked) -> Reply | None:
        uids = asked.instances
        if len(uids) == 1:
            return Reply(409, answer([], {uids[0]: 0x0122}))
        return Reply(202, answer(uids[2:], {uids[0]: 0xA900}))  # of one nothing is said

    with store_peer(behave) as peer:
        said = imported(importer, source, "--to", peer.root, "--jobs", 1, status=1)
        assert (said["stored"], said["refused"]) == (COUNT - 2, 2)
        assert Counter(one["reason"] for one in said["refusals"]) == {
            "its data set does not match its SOP class (A900H)": 1,
            "its SOP class is not taken there (0122H)": 1,
        }


def test_what_a_server_could_not_process_for_now_is_sent_again(source: Path, importer: Run) -> None:
    def behave(asked: Asked) -> Reply | None:
        if asked.number > 1:
            return None
        uids = asked.instances
        return Reply(202, answer(uids[1:], {uids[0]: 0x0110}))

    with store_peer(behave) as peer:
        assert imported(importer, source, "--to", peer.root)["stored"] == COUNT
        assert [len(asked.parts) for asked in peer.asked] == [COUNT, 1]


@pytest.mark.parametrize(
    "behave",
    [
        lambda asked: Reply(200, b"") if asked.parts else None,
        lambda asked: Reply(200, b"<NativeDicomModel/>") if asked.parts else None,
        lambda asked: Reply(202, b"[" + answer(asked.instances) + b"]"),
        lambda asked: Reply(202, b"not JSON") if len(asked.parts) > 1 else Reply(200),
    ],
)
def test_answers_of_other_makers_are_understood(behave: Behaviour, source: Path, importer: Run) -> None:
    with store_peer(behave) as peer:
        assert imported(importer, source, "--to", peer.root)["stored"] == COUNT


def test_what_does_not_speak_http_is_told(source: Path, importer: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def babble() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(1 << 16)
                        connection.sendall(b"\x07\0\0\0\0\x04\0\0\0\0\r\n")

        Thread(target=babble, daemon=True).start()
        root = f"http://127.0.0.1:{listening.getsockname()[1]}"
        said = importer(source, "--to", root, "--patience", 0.2, status=1)
        listening.shutdown(socket.SHUT_RDWR)
    assert "does not speak HTTP" in said


def test_a_file_that_goes_while_it_is_imported_is_told(tmp_path: Path, importer: Run) -> None:
    source = tmp_path / "in"
    source.mkdir()
    (source / "a").write_bytes(ct(1, size=9 << 20).part10)

    def behave(_asked: Asked) -> Reply | None:
        (source / "a").unlink(missing_ok=True)
        return Reply(503)

    with store_peer(behave) as peer:
        said = imported(importer, source, "--to", peer.root, status=1)
        assert (said["stored"], said["refused"], said["complete"]) == (0, 1, True)


def begun(*arguments: object, home: Path) -> "subprocess.Popen[str]":
    """As people start it, by the module so that it is this code."""
    program = "from imagerepo.cli.main import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", program, "import", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HOME": str(home)},
    )


def await_some(count: Any, least: int) -> None:
    until = time.monotonic() + 60
    while count() < least:
        assert time.monotonic() < until
        time.sleep(0.01)


def test_killed_in_the_middle_the_next_run_stores_the_rest_alone(tmp_path: Path, importer: Run) -> None:
    source = files(tmp_path / "in", range(600), size=200_000)
    slow = lambda _asked: time.sleep(0.05)  # noqa: E731 - a behaviour
    with store_peer(slow) as peer:
        killed = begun(source, "--to", peer.root, "--jobs", 2, home=tmp_path / "home")
        await_some(lambda: len(peer.asked), 5)
        killed.kill()
        killed.communicate()
        before, sent = len(peer.stored), sum(len(one.parts) for one in peer.asked)
        assert before < 600
        said = imported(importer, source, "--to", peer.root)
        assert len(peer.stored) == 600
        assert said["noted"] > 0
        assert said["stored"] == 600 - said["noted"]
        # What was under way may come twice: three requests at the most.
        again = sum(len(one.parts) for one in peer.asked) - 600
        assert again <= 3 * 42, (again, sent)


def test_killed_while_it_writes_a_folder_nothing_that_was_noted_is_missing(tmp_path: Path, importer: Run) -> None:
    source, data = files(tmp_path / "in", range(1500), size=100_000), tmp_path / "data"
    killed = begun(source, "--data", data, home=tmp_path)
    await_some(lambda: sum(one.stat().st_blocks for one in data.glob("segments/*")) * 512, 20 << 20)
    killed.kill()
    killed.communicate()
    said = imported(importer, source, "--data", data)
    assert said["noted"] + said["already"] + said["stored"] == 1500
    assert len(walk(data).data_sets) == 1500


def test_ended_by_a_signal_it_says_what_was_stored_and_how_to_go_on(tmp_path: Path, importer: Run) -> None:
    source = files(tmp_path / "in", range(600), size=200_000)
    slow = lambda _asked: time.sleep(0.05)  # noqa: E731 - a behaviour
    with store_peer(slow) as peer:
        ended = begun(source, "--to", peer.root, "--json", home=tmp_path / "home")
        await_some(lambda: len(peer.asked), 3)
        ended.send_signal(signal.SIGINT)
        said = json.loads(ended.communicate(timeout=60)[0])
        assert ended.returncode == 130
        assert not said["complete"]
        assert said["stored"] == len(peer.stored)  # what was acknowledged is counted, and noted
        assert imported(importer, source, "--to", peer.root)["noted"] == said["stored"]


def test_a_server_killed_in_the_middle_and_started_again_has_everything(tmp_path: Path) -> None:
    source, data = files(tmp_path / "in", range(400), size=100_000), tmp_path / "data"
    with Server(data, workers=1, storage__reserve=0) as first:
        port = first.http
        running = begun(source, "--to", first.url, "--json", home=tmp_path / "home")
        await_some(lambda: sum(one.stat().st_blocks for one in data.glob("segments/*")) * 512, 4 << 20)
        first.kill()
        with Server(data, "--listen", f"127.0.0.1:{port}", workers=1, storage__reserve=0):
            out, err = running.communicate(timeout=120)
    assert running.returncode == 0, err
    said = json.loads(out)
    assert said["stored"] + said["already"] == 400
    assert len(walk(data).data_sets) == 400
