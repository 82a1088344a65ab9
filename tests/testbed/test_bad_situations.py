"""What keeps the bed from coming up is told in one sentence."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.reading import ROOT
from tests.testbed import launch, plan, shared
from tests.testbed.bed import Bed
from tests.testbed.daemon import BedError, Daemon


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path, whose bed is down afterwards."""
    with tempfile.TemporaryDirectory(prefix="bed-") as made:
        yield Path(made)
        Bed.at(Path(made)).down()
        Path(made).mkdir(exist_ok=True)


def told(*arguments: str) -> tuple[int, str]:
    """Exit status, and what a user reads."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.testbed", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def planned(folder: Path) -> plan.Plan:
    """A bed of which nothing has been started."""
    made = plan.make()
    plan.save(folder / "state.json", made, folder, {})
    return made


def begun(folder: Path) -> Daemon:
    """A bed of which one daemon runs, or what may pass for one."""
    planned(folder)
    running = Daemon("osd.0", ("sleep", "1000"), folder)
    for name in ("run", "log"):
        (folder / name).mkdir()
    running.start()
    return running


def test_missing_packages_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(BedError, match=r"packages are missing: .*ceph-osd, .*radosgw.*`tests/setup`"):
        Bed.at(folder).up()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["postgres", "haproxy", "mon.a", "rgw.main"])
def test_a_port_that_another_program_has_is_named_with_who_needs_it(folder: Path, name: str) -> None:
    made = planned(folder)
    ports = {
        "postgres": made.postgres.port,
        "haproxy": made.haproxy.dimse_port,
        "mon.a": made.ceph.mon_port,
        "rgw.main": made.s3.port,
    }
    with socket.create_server((plan.HOST, ports[name])):
        status, said = told("up", "--dir", str(folder))
    assert status == 1
    assert said.count("\n") == 1
    assert f"port {ports[name]} on 127.0.0.1, which {name} needs, is taken" in said


def test_the_bed_of_a_session_that_was_killed_is_taken_down_by_the_next_one() -> None:
    forgotten, current = (Path(tempfile.mkdtemp(prefix=shared._PREFIX)) for _ in range(2))
    (forgotten / shared._OWNER).write_text(f"{os.getpid()} another start")
    (current / shared._OWNER).write_text(f"{os.getpid()} {launch.identity(os.getpid())}")
    daemons = [begun(folder) for folder in (forgotten, current)]
    shared._take_down_forgotten()
    assert [one.pid() is None for one in daemons] == [True, False]
    assert not forgotten.exists()
    shared._take_down(Bed.at(current))
    assert not current.exists()


def test_a_state_that_is_damaged_is_named_and_can_still_be_taken_down(folder: Path) -> None:
    pid = begun(folder).pid()
    assert pid is not None
    (folder / "state.json").write_text('{"ceph": {}}')
    for verb in ("up", "status"):
        status, said = told(verb, "--dir", str(folder))
        assert (status, said.count("\n")) == (1, 1)
        assert "state.json can't be used" in said
    assert told("down", "--dir", str(folder)) == (0, "the test bed is down\n")
    assert launch.identity(pid) is None
    assert not folder.exists()


def test_what_others_keep_in_the_folder_stays(folder: Path) -> None:
    planned(folder)
    (folder / "kubeconfig").write_text("theirs")
    assert told("down", "--dir", str(folder)) == (0, "the test bed is down\n")
    assert [path.name for path in folder.iterdir()] == ["kubeconfig"]


def test_a_folder_without_a_bed_is_left_as_it_is(folder: Path) -> None:
    (folder / "postgres").mkdir()
    assert told("down", "--dir", str(folder)) == (0, f"there is no test bed in {folder}\n")
    assert (folder / "postgres").is_dir()
    status, said = told("status", "--dir", str(folder))
    assert (status, said) == (1, f"testbed: there is no test bed in {folder}: `make testbed-up` makes one\n")


def test_a_folder_that_can_not_be_used_is_named(folder: Path) -> None:
    for path, reason in (
        (folder / ("x" * 60), "too long for the sockets in it"),
        (folder / "my bed", "characters that configuration files give a meaning"),
    ):
        status, said = told("up", "--dir", str(path))
        assert (status, said.count("\n")) == (1, 1)
        assert reason in said
    (folder / "file").touch()
    status, said = told("up", "--dir", str(folder / "file"))
    assert (status, said) == (1, f"testbed: {folder / 'file'} can't be used as a folder: File exists\n")


def test_two_commands_at_once_do_not_change_the_same_bed(folder: Path) -> None:
    planned(folder)
    with Bed.at(folder)._alone():
        status, said = told("down", "--dir", str(folder))
    assert (status, said) == (1, f"testbed: another command is bringing {folder} up or down; wait for it\n")


def test_a_daemon_that_does_not_exist_is_named_with_those_that_do(folder: Path) -> None:
    planned(folder)
    with pytest.raises(BedError, match=r"there is no rgw\.other; there are postgres, haproxy, mon\.a, .*, dc:dc-c"):
        Bed.at(folder).stop("rgw.other")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_an_up_that_was_killed_is_gone_on_with_and_down_leaves_nothing(folder: Path) -> None:
    for seconds in (1.0, 4.0, 7.0, 10.0):
        with subprocess.Popen(
            [sys.executable, "-m", "tests.testbed", "up", "--dir", str(folder)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        ) as begun:
            time.sleep(seconds)
            os.killpg(begun.pid, signal.SIGKILL)
    status, said = told("up", "--dir", str(folder))
    assert status == 0, said
    bed = Bed.at(folder)
    assert bed.complaints() == []
    pids = [one.pid for one in bed.running()]
    assert told("down", "--dir", str(folder)) == (0, "the test bed is down\n")
    assert [launch.identity(pid or 0) for pid in pids] == [None] * len(pids)
    assert not folder.exists()
    assert told("down", "--dir", str(folder)) == (0, f"there is no test bed in {folder}\n")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_bed_whose_objects_are_gone_says_so(folder: Path) -> None:
    bed = Bed.at(folder)
    bed.up()
    for name in ("osd.0", "osd.2", "osd.4"):
        bed.kill(name)
    with pytest.raises(BedError, match="OSDs of all three data centers were killed"):
        bed.up()
