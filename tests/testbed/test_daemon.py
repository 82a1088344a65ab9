"""A daemon is apart from who starts it, and nothing else is ever taken for it."""

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.testbed import launch
from tests.testbed.daemon import BedError, Daemon


@pytest.fixture
def sleeping(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with a child."""
    made = daemon(tmp_path, "sh", "-c", "sleep 1000 & trap 'kill $!; exit' TERM; echo ready; wait")
    start(made)
    yield made
    made.discard()


def start(made: Daemon) -> None:
    """Returns when the program says that it is ready."""
    assert made.start()
    made.wait("a program", lambda: made.last_words() == "ready", 10)


def daemon(folder: Path, *command: str) -> Daemon:
    for name in ("run", "log"):
        (folder / name).mkdir(exist_ok=True)
    return Daemon("one", command, folder)


def test_a_daemon_has_a_session_of_its_own_and_no_descriptor_of_the_caller(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with closing(os.fdopen(reading)), closing(os.fdopen(writing, "w")):
        os.set_inheritable(writing, True)
        made = daemon(tmp_path, "sleep", "1000")
        made.start()
    pid = made.pid()
    assert pid is not None
    assert os.getsid(pid) == pid
    open_files = {link.name: str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
    assert open_files == {"0": os.devnull, "1": str(made.output), "2": str(made.output)}
    assert made.discard()


def test_a_daemon_that_runs_is_not_started_again(sleeping: Daemon) -> None:
    pid = sleeping.pid()
    assert not sleeping.start()
    assert sleeping.pid() == pid


def test_a_process_that_got_the_pid_of_a_daemon_is_left_alone(sleeping: Daemon) -> None:
    known = sleeping.record.read_text()
    pid = json.loads(known)["pid"]
    sleeping.record.write_text(json.dumps({"pid": pid, "identity": "another start"}))
    assert not sleeping.kill()
    assert not sleeping.discard()
    assert not sleeping.pause()
    assert sleeping.ended_unasked()
    assert not sleeping.stop()
    assert launch.identity(pid) is not None
    assert not launch.stands(pid)
    sleeping.record.write_text(known)


def test_a_kill_ends_children_too_and_is_told_from_a_stop(sleeping: Daemon) -> None:
    children = [int(one) for one in Path(f"/proc/{sleeping.pid()}/task/{sleeping.pid()}/children").read_text().split()]
    assert sleeping.kill()
    assert [launch.identity(pid) for pid in children] == [None]
    assert sleeping.ended_unasked()
    assert sleeping.start()
    assert sleeping.stop()
    assert not sleeping.ended_unasked()


def test_a_paused_daemon_can_be_stopped(sleeping: Daemon) -> None:
    assert sleeping.pause()
    pid = sleeping.pid()
    assert pid is not None
    assert launch.stands(pid)
    assert sleeping.stop()
    assert launch.identity(pid) is None


def test_a_daemon_that_must_not_be_killed_is_waited_for(tmp_path: Path) -> None:
    daemon(tmp_path)
    stubborn = Daemon(
        "one", ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done"), tmp_path, expendable=False
    )
    start(stubborn)
    with pytest.raises(BedError, match=r"one \(pid \d+\) did not end within"):
        stubborn.stop(timeout=1)
    assert stubborn.pid() is not None
    assert stubborn.kill()


def test_a_daemon_that_ends_at_once_is_told_with_its_last_words(tmp_path: Path) -> None:
    made = daemon(tmp_path, "sh", "-c", "echo no such setting; exit 1")
    made.start()
    with pytest.raises(BedError, match="one ended at once: no such setting"):
        made.wait("a program", lambda: False, 10)


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    made = daemon(tmp_path, "no-such-program")
    made.start()
    with pytest.raises(BedError, match="no-such-program: No such file or directory"):
        made.wait("a program", lambda: False, 10)
