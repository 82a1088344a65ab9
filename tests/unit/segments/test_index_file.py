"""The file of the index: made anew at once or not at all, and whenever it is not to be trusted."""

import logging
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, event

from imagerepo.adapters.index_sql import schema
from imagerepo.adapters.index_sql.engine import INDEX, connect
from imagerepo.adapters.index_sql.reader import SqlIndex
from imagerepo.adapters.segments import index_file
from imagerepo.adapters.segments.folder import FolderLock
from imagerepo.errors import SettingsError, UnavailableError
from imagerepo.model.query import Level, Query
from imagerepo.processes.rebuild import rebuild
from imagerepo.settings import Settings
from tests.harness.archive import in_segments
from tests.harness.dicom_file import ct
from tests.harness.requests import store

FILES = [ct(number, study=number % 3) for number in range(9)]


def filled(data: Path) -> None:
    with in_segments(data) as archive:
        for file in FILES:
            archive.commits.commit([store(file)])


def found(data: Path) -> list[str]:
    """Instances that the index as it lies there answers with."""
    return sorted(one.instance.uid for one in SqlIndex(data).search(Query("default", Level.INSTANCE, (), 100)))  # type: ignore[union-attr]


def all_files() -> list[str]:
    return sorted(file.instance for file in FILES)


def without_last_rows(data: Path) -> None:
    """An index that is whole and lacks what came last, beside a log that is not folded in."""
    filled(data)
    index_file.rebuild(data)
    with in_segments(data) as archive:
        archive.commits.commit([store(ct(100))])
        for suffix in ("", "-wal"):
            shutil.copy(data / f"{INDEX}{suffix}", data / f"kept{suffix}")
    for suffix in ("", "-wal"):
        (data / f"kept{suffix}").rename(data / f"{INDEX}{suffix}")


class Killer:
    """Kills this process before the n-th of the calls that change what is on the disk."""

    def __init__(self, at: int) -> None:
        self._left = at

    def before(self, call: Callable):
        def killing(*arguments, **named):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return killing


class Connection(sqlite3.Connection):
    execute = sqlite3.Connection.execute


def rebuild_killed(data: Path, at: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Rebuild in a process that is killed before its n-th step; whether it came to that."""
    child = os.fork()
    if child == 0:
        killer = Killer(at)
        for name in ("rename", "unlink", "fsync"):
            monkeypatch.setattr(os, name, killer.before(getattr(os, name)))
        monkeypatch.setattr(Connection, "execute", killer.before(sqlite3.Connection.execute))
        opened = sqlite3.connect
        monkeypatch.setattr(sqlite3, "connect", lambda *one, **named: opened(*one, **named, factory=Connection))
        try:
            rebuild(Settings(data=data))
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


@pytest.mark.parametrize("stride", [5, pytest.param(1, marks=pytest.mark.long)])
def test_a_rebuild_that_is_killed_leaves_the_old_index_or_the_new_one_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    kept = tmp_path / "kept"
    without_last_rows(kept)
    expected = sorted([*all_files(), ct(100).instance])
    at, data = 1 - stride, tmp_path / "data"
    while True:
        at += stride
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(kept, data)
        killed = rebuild_killed(data, at, monkeypatch)
        assert found(data) == expected, f"killed before step {at}"
        check(data)
        if not killed:
            break
    assert at > 20
    assert [path.name for path in data.glob(f"{INDEX}.*")] == []


def check(data: Path) -> None:
    connection = connect(data / INDEX)
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_what_a_killed_rebuild_left_is_removed_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    assert rebuild_killed(tmp_path, 15, monkeypatch)
    assert list(tmp_path.glob(f"{INDEX}.fresh*"))
    with in_segments(tmp_path) as archive:
        assert archive.bytes_of(FILES[0].instance)
    assert list(tmp_path.glob(f"{INDEX}.fresh*")) == []


def test_a_rebuild_that_fails_leaves_the_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    (tmp_path / f"{INDEX}.fresh").write_bytes(b"left by another time")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        rebuild(Settings(data=tmp_path))
    assert found(tmp_path) == all_files()


def test_a_rebuild_while_another_process_reads_is_refused_and_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_last_rows(tmp_path)
    monkeypatch.setattr("imagerepo.adapters.index_sql.engine._BUSY", 0.1)
    reader = connect(tmp_path / INDEX)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM study").fetchone()
    with pytest.raises(UnavailableError, match="another process reads the index"):
        rebuild(Settings(data=tmp_path))
    reader.execute("COMMIT")
    reader.close()
    assert len(found(tmp_path)) == len(FILES) + 1


@pytest.mark.parametrize("damaged", ["index", "log"])
def test_a_damaged_index_is_replaced(tmp_path: Path, damaged: str) -> None:
    without_last_rows(tmp_path)
    (tmp_path / {"index": INDEX, "log": f"{INDEX}-wal"}[damaged]).write_bytes(b"\xa5" * 9000)
    rebuild(Settings(data=tmp_path))
    assert len(found(tmp_path)) == len(FILES) + 1
    check(tmp_path)


def test_a_rebuild_beside_a_server_is_refused(tmp_path: Path) -> None:
    filled(tmp_path)
    with FolderLock(tmp_path), pytest.raises(SettingsError, match="another imagerepo runs"):
        rebuild(Settings(data=tmp_path))


def pages_of(index: Path, table: str) -> list[int]:
    connection = connect(index)
    rows = connection.execute("SELECT rootpage FROM sqlite_master WHERE tbl_name = ?", (table,)).fetchall()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return [page for (page,) in rows if page]


@pytest.mark.parametrize("table", ["study", "series", "instance", "version", "range", "study_text_data", "holding"])
def test_damage_that_replay_alone_comes_upon_has_the_index_made_anew(
    tmp_path: Path, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(ct(0, study=5))])
        shutil.copy(tmp_path / INDEX, tmp_path / "behind")
        shutil.copy(tmp_path / f"{INDEX}-wal", tmp_path / "behind-wal")
        for file in FILES:
            archive.commits.commit([store(file)])
    for path in tmp_path.glob(f"{INDEX}*"):
        path.unlink()
    pages = pages_of(tmp_path / "behind", table)
    with (tmp_path / "behind").open("r+b") as file:
        for page in pages:
            file.seek((page - 1) * 4096)
            file.write(b"\xff" * 4096)
    (tmp_path / "behind").rename(tmp_path / INDEX)
    with caplog.at_level(logging.ERROR), in_segments(tmp_path) as archive:
        assert "index.set_aside" in caplog.messages
        assert len(archive.index.search(Query("default", Level.INSTANCE, (), 100))) == len(FILES) + 1
    assert (tmp_path / f"{INDEX}.unreadable").exists()


def test_rows_that_contradict_a_commit_have_the_index_made_anew(tmp_path: Path) -> None:
    filled(tmp_path)
    connection = connect(tmp_path / INDEX)
    connection.execute("UPDATE segment SET applied = 64")
    connection.execute("DELETE FROM instance")  # versions of instances that are not there
    connection.close()
    with in_segments(tmp_path) as archive:
        assert len(archive.index.search(Query("default", Level.INSTANCE, (), 100))) == len(FILES)


@pytest.mark.parametrize("at", [1, 5, 20])
def test_a_process_that_dies_while_the_schema_is_made_leaves_none_of_it(tmp_path: Path, at: int) -> None:
    child = os.fork()
    if child == 0:
        try:
            event.listen(Engine, "before_cursor_execute", Killer(at).before(lambda *_: None))
            schema.upgrade(tmp_path / INDEX)
        finally:
            os._exit(0)
    assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
    with in_segments(tmp_path) as archive:
        archive.commits.commit([store(FILES[0])])
    assert not (tmp_path / f"{INDEX}.unreadable").exists()
