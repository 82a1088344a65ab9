"""Our side of TLS connections to nodes: whom we accept, what we show, and how a refusal reads."""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.negotiation import propose
from imagerepo.dimse.messages import CommandField, Element
from imagerepo.errors import PeerError, PeerFailure, SettingsError
from imagerepo.model.peer import Peer, PeerTls
from tests.harness.certificates import Authority, Files

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"


@dataclass
class Node:
    """A node of dcmtk's, and what it takes to speak to it."""

    port: int
    authority: Authority
    ours: Files
    folder: Path

    def peer(self, **tls: object) -> Peer:
        given = {"ca": self.authority.file, "certificate": self.ours.certificate, "key": self.ours.key}
        return Peer(
            name="node", ae_title="NODE", host="127.0.0.1", port=self.port, connect_timeout=5, response_timeout=5,
            tls=PeerTls(**{"server_name": "node.example", **given, **tls}),  # type: ignore[arg-type]
        )  # fmt: skip


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def storescp(folder: Path, authority: Authority, shown: Files, *arguments: str) -> Iterator[int]:
    """dcmtk's receiver on a port that it chose a moment ago."""
    program = shutil.which("storescp")
    assert program, "dcmtk is missing; see tests/setup"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tls = ["+tls", shown.key, shown.certificate, "+cf", authority.file, *arguments] if shown else []
    with subprocess.Popen(
        [program, *tls, "--ignore", "-od", folder, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until = time.monotonic() + 20
            while not _listens(port):
                assert time.monotonic() < until
                time.sleep(0.05)
            yield port
        finally:
            process.kill()


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("node")
    authority = Authority(folder, "theirs")
    shown = authority.issue("node", dns=["node.example"])
    with storescp(folder, authority, shown) as port:
        yield Node(port, authority, authority.issue("imagerepo"), folder)


def echo(peer: Peer) -> int:
    with Connection.open(peer, "IMAGEREPO", propose([(VERIFICATION, [IMPLICIT])])) as connection:
        context = connection.context_for(VERIFICATION)
        command = {
            Element.AFFECTED_SOP_CLASS_UID: VERIFICATION,
            Element.COMMAND_FIELD: CommandField.C_ECHO_RQ,
        }
        status = connection.call(context, command, None).number(Element.STATUS)
    assert status is not None
    return status


def failure(peer: Peer) -> PeerError:
    with pytest.raises(PeerError) as caught:
        echo(peer)
    assert caught.value.failure is PeerFailure.TLS, caught.value
    return caught.value


def test_a_node_that_proves_its_name_is_spoken_to(node: Node) -> None:
    assert echo(node.peer()) == 0


def test_a_node_of_another_name_is_refused(node: Node) -> None:
    assert "Hostname mismatch" in str(failure(node.peer(server_name="other.example")))


def test_a_node_of_an_unknown_authority_is_refused(node: Node) -> None:
    assert "not accepted" in str(failure(node.peer(ca=Authority(node.folder, "foreign").file)))


def test_a_nodes_own_certificate_may_be_trusted_by_itself(node: Node) -> None:
    assert echo(node.peer(ca=node.folder / "node.crt")) == 0


def test_a_node_that_wants_our_certificate_and_gets_none_refuses_us(node: Node) -> None:
    with pytest.raises(PeerError, match=r"the other side refuses|may refuse our certificate, or want one"):
        echo(node.peer(certificate=None, key=None))


def test_an_expired_node_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "theirs")
    old = authority.issue("node", dns=["node.example"], begins=timedelta(-9), ends=timedelta(-1))
    with storescp(tmp_path, authority, old) as port:
        peer = Node(port, authority, authority.issue("imagerepo"), tmp_path).peer()
        assert "expired" in str(failure(peer))


def test_a_node_in_the_clear_is_not_spoken_to(node: Node) -> None:
    def answer(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            connection.sendall(bytes.fromhex("07000000000400000201"))  # A-ABORT, as an acceptor answers garbage

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=answer, args=(listening,), daemon=True).start()
        error = failure(replace(node.peer(), port=listening.getsockname()[1]))
    assert "not TLS" in str(error)


def test_a_node_that_never_shakes_hands_is_silent(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, pytest.raises(PeerError) as caught:
        echo(replace(node.peer(), port=listening.getsockname()[1], connect_timeout=0.5))
    assert caught.value.failure is PeerFailure.SILENT


@pytest.mark.parametrize("field", ["ca", "certificate", "key"])
def test_a_file_that_cannot_be_used_is_named(node: Node, field: str) -> None:
    with pytest.raises(SettingsError, match=rf"nodes\[\]\.tls\.{field}: "):
        echo(node.peer(**{field: node.folder / "missing.pem"}))
