"""The process that works ahead: its death is nobody's loss, and it ends with its parent."""

import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from tests.harness.dicom_file import DicomFile, ct
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.server import Server
from tests.harness.web_client import get

FILES = [ct(number) for number in range(1, 40)]


def await_(what: Callable[[], object], within: float = 20.0) -> None:
    until = time.monotonic() + within
    while not what():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.05)


def ahead(server: Server) -> list[int]:
    """The process that works ahead, while it runs."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    found = []
    for pid in map(int, children):
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            continue
        if b"readying_worker" in command:
            found.append(pid)
    return found


def kept(server: Server) -> int:
    """How much JSON is kept."""
    try:
        with sqlite3.connect(f"file:{server.data / 'metadata.sqlite'}?mode=ro", uri=True) as connection:
            return connection.execute("SELECT count(*) FROM kept").fetchone()[0]
    except sqlite3.OperationalError:
        return 0  # nobody has opened it yet


def send(server: Server, files: list[DicomFile]) -> None:
    with DimseClient(server.dimse) as client:
        for file in files:
            assert client.store(file.instance, file.data_set) == SUCCESS
        client.release()


def answer(server: Server) -> bytes:
    status, body = get(server.http, f"/dicom-web/studies/{FILES[0].study}/metadata")
    assert status == 200
    return body.replace(f":{server.http}/".encode(), b"/")  # each server has a port of its own


def test_what_arrives_is_made_ready_and_answers_as_if_made_on_demand(tmp_path: Path) -> None:
    with Server(tmp_path / "data", storage__reserve=0) as server:
        send(server, FILES)
        await_(lambda: kept(server) == len(FILES))
        made_ahead = answer(server)
        assert server.stop() == 0
    (tmp_path / "data" / "metadata.sqlite").unlink()
    with Server(tmp_path / "data", storage__reserve=1 << 50) as server:  # as if the disk were full
        await_(lambda: ahead(server))
        assert answer(server) == made_ahead
        assert kept(server) == 0
        assert server.stop() == 0


def test_it_is_killed_and_serving_goes_on(tmp_path: Path) -> None:
    with Server(tmp_path / "data", storage__reserve=0) as server:
        await_(lambda: ahead(server))
        (first,) = ahead(server)
        os.kill(first, signal.SIGKILL)
        send(server, FILES)
        assert answer(server).count(b'"00080018"') == len(FILES)
        await_(lambda: ahead(server) not in ([], [first]))
        send(server, [ct(50, study=50)])
        await_(lambda: kept(server) == len(FILES) + 1)
        last = ahead(server)
        assert server.stop() == 0
        assert gone(last)


def gone(pids: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_it_ends_with_its_parent_however_that_ends(tmp_path: Path) -> None:
    with Server(tmp_path / "data", storage__reserve=0) as server:
        await_(lambda: ahead(server))
        pids = ahead(server)
        os.kill(server.process.pid, signal.SIGKILL)
        await_(lambda: gone(pids))
