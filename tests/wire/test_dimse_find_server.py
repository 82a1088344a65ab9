"""C-FIND on the real server: more than a page of the index, asked by dcmtk."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.harness.server import Server
from tests.wire.dimse_peer import Peer, message, parse_response
from tests.wire.find_samples import REQUEST, find_command, instance, store
from tests.wire.find_samples import STUDIES as STUDIES_ASKED

STUDIES = 130


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("find") / "data") as one:
        instances = []
        for number in range(STUDIES):
            ds = instance(1, 1, 1, PatientName=f"Doe^Jane {number:03}", PatientID=f"P{number % 100}")
            ds.StudyInstanceUID = f"1.2.3.{number}"
            ds.SeriesInstanceUID = f"1.2.3.{number}.1"
            ds.SOPInstanceUID = f"1.2.3.{number}.1.1"
            instances.append(ds)
        store(one.dimse, *instances)
        yield one


def findscu(server: Server, *options: str) -> str:
    program = shutil.which("findscu")
    assert program, "findscu is not installed: run tests/setup"
    command = [program, "-v", "-aec", "IMAGEREPO", *options, "127.0.0.1", str(server.dimse)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_every_match_comes_once_whatever_the_number_of_pages(server: Server) -> None:
    said = findscu(server, "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
    uids = re.findall(r"UI \[?(1\.2\.3\.\d+)", said)
    assert sorted(set(uids)) == sorted(f"1.2.3.{number}" for number in range(STUDIES))
    assert len(uids) == STUDIES
    assert "Received Final Find Response (Success)" in said


def test_findscu_ends_early_by_a_cancel(server: Server) -> None:
    said = findscu(server, "-S", "--cancel", "5", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
    # All answers may have been on their way before the cancel arrived.
    assert re.search(r"Final Find Response \((Cancel.*|Success)\)", said), said


@pytest.mark.parametrize(
    ("options", "matches"),
    [
        (("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientName=*ANE 01*"), 10),
        (("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P7"), 2),
        (("-S", "-k", "QueryRetrieveLevel=SERIES", "-k", "StudyInstanceUID=1.2.3.7", "-k", "SeriesInstanceUID"), 1),
        (("-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=P1?"), 10),
        (("-P", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P20", "-k", "StudyInstanceUID"), 2),
        (("-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyDate=20240101", "-k", "AccessionNumber=none"), 0),
    ],
)
def test_the_index_finds_what_findscu_asks_for(server: Server, options: tuple[str, ...], matches: int) -> None:
    said = findscu(server, *options)
    assert len(re.findall(r"Find Response: \d+|Received Find Response", said)) == matches, said


def test_pynetdicom_s_own_findscu_finds(server: Server) -> None:
    command = [
        sys.executable,
        "-m",
        "pynetdicom",
        "findscu",
        "127.0.0.1",
        str(server.dimse),
        "-aec",
        "IMAGEREPO",
        "-S",
    ]
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P7", "-k", "StudyInstanceUID="]
    done = subprocess.run([*command, *keys], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"Find SCP Response: \d+ - 0xFF00", done.stdout + done.stderr)) == 2, done.stderr


def statuses(peer: Peer) -> Counter[int]:
    """Of all responses to a query, up to the final one."""
    found: Counter[int] = Counter()
    while not found.keys() - {0xFF00}:
        kind, body = peer.receive()
        assert kind == 4
        if body[5] & 1:
            found[parse_response(body).status] += 1
    return found


def test_many_ask_at_the_same_time_and_each_is_answered_in_full(server: Server) -> None:
    def ask(_: int) -> list[Counter[int]]:
        with Peer(server.dimse) as peer:
            peer.associate(REQUEST)
            answers = []
            for number in range(1, 6):
                peer.send(message(1, find_command(number), STUDIES_ASKED))
                answers.append(statuses(peer))
            peer.release()
            return answers

    with ThreadPoolExecutor(12) as threads:
        assert list(threads.map(ask, range(12))) == [[Counter({0xFF00: STUDIES, 0: 1})] * 5] * 12
