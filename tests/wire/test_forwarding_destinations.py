"""Destinations of one server that forwards: those that take what comes, refuse it, are full, dead or silent.

What a sender stores goes to the destination of the sender's name: a server that forwards needs seconds to begin.
"""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.harness.dicom_file import DicomFile, ct, data_set_of
from tests.harness.dimse_client import SUCCESS
from tests.harness.receiver import Receiver, await_, free_port, receiving, silent
from tests.harness.server import COMMAND, Server
from tests.harness.web_client import get
from tests.wire.forwarding import dcmtk, forwarding, node, pending, send, tasks

TAKING = ("burst", "journal", "refusing", "full", "alive", "scanners", "research")
"""Nodes that run."""
AWAY = ("dead", "dropped", "storescp")
"""Nodes that nobody listens for, unless a test does."""
WEB = ("cloud", "idle", "gone", "nowhere", "encrypted", "mute")
"""DICOMweb servers."""
COUNT = 12


@dataclass(frozen=True)
class Hub:
    """A server that forwards, and where to."""

    server: Server
    other: Server
    receivers: dict[str, Receiver]
    ports: dict[str, int]

    def send(self, files: list[DicomFile], to: str) -> None:
        send(self.server, files, to.upper())

    def failures(self, of: str) -> int:
        """How often that destination was not reached."""
        return sum("queue.failed" in line and f"'{of}'" in line for line in self.server.said().splitlines())

    def drop(self) -> None:
        """What a test leaves is not the next one's."""
        if pending(self.server):
            tasks(self.server, "drop", "--kind", "forward")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    folder, other_folder = tmp_path_factory.mktemp("hub"), tmp_path_factory.mktemp("other")
    receivers = {name: Receiver() for name in TAKING}
    ports = {name: free_port() for name in (*TAKING, *AWAY)}
    with ExitStack() as ending:
        for name, receiver in receivers.items():
            ending.enter_context(receiving(receiver, ports[name], name.upper()))
        quiet = ending.enter_context(silent())
        other = ending.enter_context(Server(other_folder / "data", storage__reserve=0, http__keep_alive=0.2))
        at = f"127.0.0.1:{other.http}"
        urls = {
            "cloud": f"http://{at}/dicom-web",
            "idle": f"http://{at}/dicom-web",
            "gone": f"http://127.0.0.1:{free_port()}",
            "nowhere": f"http://{at}/nowhere",
            "encrypted": f"https://{at}/dicom-web",
            "mute": f"http://127.0.0.1:{quiet}",
        }
        rules: list[dict[str, object]] = [
            {"name": name, "to": name, "senders": [name.upper()]} for name in (*TAKING, *AWAY, "quiet", *WEB)
        ]
        rules += [
            {"name": "also", "to": "alive", "senders": ["DEAD"]},
            {"name": "of-scanners", "to": "scanners", "senders": ["CT*"]},
            {
                "name": "phantoms",
                "to": "research",
                "modalities": ["CT"],
                "tags": [{"tag": "00100020", "value": "PHANTOM*"}],
            },
        ]
        server = ending.enter_context(
            forwarding(
                folder,
                *(node(port, name) for name, port in ports.items()),
                node(quiet, "quiet"),
                rules=rules,
                stow=[{"name": name, "url": urls[name], "timeout": 2} for name in WEB],
            )
        )
        yield Hub(server, other, receivers, ports)
        assert server.stop() == 0
        assert other.stop() == 0


@pytest.fixture
def hub(started: Hub) -> Iterator[Hub]:
    yield started
    started.drop()


def files(of: int, count: int = COUNT) -> list[DicomFile]:
    """Of two studies that no other test has."""
    return [ct(number, study=10 * of + number % 2, size=4096) for number in range(count)]


def test_one_association_serves_what_comes_at_once(hub: Hub) -> None:
    archive = hub.receivers["burst"]
    hub.send([ct(number, study=100 + number % 7) for number in range(70)], "burst")
    await_(lambda: len(archive.received) == 70)
    assert len(archive.associations) <= 2


def test_who_was_given_a_study_is_in_the_journal(hub: Hub) -> None:
    of = files(1)
    hub.send(of, "journal")
    await_(lambda: pending(hub.server) == 0 and len(hub.receivers["journal"].received) == COUNT)

    def entries() -> list[dict[str, str]]:
        command = [str(COMMAND), "audit", "export", "--data", str(hub.server.data)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
        return [one for one in map(json.loads, lines) if one["caller"] == "forward:journal"]

    await_(lambda: {one["study"] for one in entries() if one["action"] == "read"} == {file.study for file in of})
    assert {(one["address"], one["protocol"]) for one in entries()} == {("127.0.0.1", "dimse")}
    subprocess.run([COMMAND, "audit", "verify", "--data", hub.server.data], check=True, capture_output=True)


def test_rules_choose_by_sender_and_by_what_an_instance_is(hub: Hub) -> None:
    first, second = hub.receivers["scanners"], hub.receivers["research"]
    of = files(2, 6)
    phantom = DicomFile("1.2.3", "1.2.3.1", "1.2.3.1.1", b"x" * 64, {0x00100020: ("LO", "PHANTOM7")})
    send(hub.server, of[:3], "CT1")
    send(hub.server, of[3:], "MR1")
    send(hub.server, [phantom], "MR1")
    await_(lambda: len(second.received) == 1 and len(first.received) == 3)
    await_(lambda: pending(hub.server) == 0)
    assert sorted(first.received) == sorted(file.instance for file in of[:3])
    assert second.received == ["1.2.3.1.1"]


def test_a_dead_destination_keeps_its_own_queue_alone_and_gets_all_when_it_comes(hub: Hub) -> None:
    archive, late, of = hub.receivers["alive"], Receiver(), files(3)
    hub.send(of, "dead")
    await_(lambda: len(archive.received) == COUNT)
    await_(lambda: hub.failures("dead") >= 3)
    assert pending(hub.server) == COUNT
    said = tasks(hub.server, "list")
    assert f"forward to dead: {COUNT} waiting, 0 parked; failed" in said
    assert "nothing listens there" in said
    with receiving(late, hub.ports["dead"], "DEAD"):
        await_(lambda: pending(hub.server) == 0)
    assert sorted(late.received) == sorted(file.instance for file in of)
    assert len(archive.received) == COUNT


def test_a_destination_that_says_nothing_delays_no_sender(hub: Hub) -> None:
    hub.send(files(4), "quiet")
    await_(lambda: hub.failures("quiet"))
    begun = time.process_time()
    hub.send([ct(number, study=42) for number in range(50)], "quiet")
    assert time.process_time() - begun < 5
    await_(lambda: pending(hub.server) == COUNT + 50)
    assert "for 1 s" in tasks(hub.server, "list")


def test_an_instance_that_is_refused_is_parked_and_the_others_are_sent(hub: Hub) -> None:
    archive, of = hub.receivers["refusing"], files(5)
    archive.status_of = lambda instance: 0xC000 if instance == of[4].instance else SUCCESS
    hub.send(of, "refusing")
    await_(lambda: " parked" in tasks(hub.server, "list", "--state", "parked"))
    await_(lambda: pending(hub.server) == 1)
    (parked,) = json.loads(tasks(hub.server, "list", "--json"))["tasks"]
    assert (parked["state"], parked["attempts"]) == ("parked", 3)
    assert parked["problem"].startswith("status C000H")
    assert archive.received.count(of[4].instance) == 3
    archive.status_of = lambda _: SUCCESS
    assert tasks(hub.server, "retry", str(parked["id"])) == "1 are tried again\n"
    await_(lambda: pending(hub.server) == 0)
    assert archive.received.count(of[4].instance) == 4


def test_a_destination_that_is_full_is_tried_for_ever_and_nothing_is_parked(hub: Hub) -> None:
    archive = hub.receivers["full"]
    archive.status_of = lambda _: 0xA700
    hub.send(files(6, 2), "full")
    await_(lambda: len(archive.received) >= 8)  # more often than a task may be refused
    assert "full: 2 waiting, 0 parked" in tasks(hub.server, "list")
    archive.status_of = lambda _: SUCCESS
    await_(lambda: pending(hub.server) == 0)


def test_what_shall_not_be_sent_any_more_is_dropped(hub: Hub) -> None:
    hub.send(files(7), "dropped")
    await_(lambda: pending(hub.server) == COUNT)
    assert tasks(hub.server, "drop", "--queue", "dropped") == f"{COUNT} dropped\n"
    assert pending(hub.server) == 0


def test_dcmtk_s_storescp_is_a_destination(hub: Hub, tmp_path: Path) -> None:
    of = files(8)
    command = [dcmtk("storescp"), "-aet", "STORESCP", "-od", str(tmp_path), "+xa", str(hub.ports["storescp"])]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as storescp:
        try:
            hub.send(of, "storescp")
            await_(lambda: len(list(tmp_path.iterdir())) == COUNT and pending(hub.server) == 0)
        finally:
            storescp.terminate()
    assert {data_set_of(path.read_bytes()) for path in tmp_path.iterdir()} == {file.data_set for file in of}


def stored(server: Server, of: list[DicomFile]) -> int:
    """How many of them it has."""
    status, body = get(server.http, "/dicom-web/instances?limit=5000")
    found = {one["00080018"]["Value"][0] for one in json.loads(body)} if status == 200 else set()
    return len(found & {file.instance for file in of})


def test_a_dicomweb_server_is_a_destination(hub: Hub) -> None:
    of = files(9)
    hub.send(of, "cloud")
    await_(lambda: stored(hub.other, of) == COUNT and pending(hub.server) == 0)
    for file in of:
        status, body = get(hub.other.http, f"/image/{file.instance}")
        assert (status, data_set_of(body)) == (200, file.data_set)


def test_a_connection_that_its_server_has_ended_is_opened_again(hub: Hub) -> None:
    of = files(11, 4)
    for file in of:
        hub.send([file], "idle")
        time.sleep(0.5)
    await_(lambda: pending(hub.server) == 0 and stored(hub.other, of) == 4)
    assert hub.failures("idle") == 0


@pytest.mark.parametrize(
    ("number", "to", "problem"),
    [
        (12, "gone", "cannot be reached"),
        (13, "nowhere", "answers 404; check forwarding.stow[].url"),
        (14, "encrypted", "no agreement over TLS"),
        (15, "mute", "was silent for 2 s"),
    ],
)
def test_a_dicomweb_server_that_cannot_be_used_is_said_why(hub: Hub, number: int, to: str, problem: str) -> None:
    hub.send(files(number, 1), to)
    await_(lambda: problem in tasks(hub.server, "list"))
