"""The transport over TLS: bytes as over the plain one, limits and ends as well."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagerepo.dimse.tls import HandshakeError, TlsTransport
from imagerepo.dimse.transport import PlainTransport, SilenceError, TransportClosedError
from imagerepo.model.peer import PeerTls
from imagerepo.settings_tls import Tls
from imagerepo.tls.client import client_context
from imagerepo.tls.faults import Fault
from imagerepo.tls.server import build
from tests.harness.certificates import Authority


@dataclass
class Ends:
    """Two transports over one connection."""

    server: TlsTransport
    client: TlsTransport
    sockets: tuple[socket.socket, socket.socket]


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    folder: Path = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "ca")
    files = authority.issue("server", dns=["server.example"])
    server = build(Tls(certificate=files.certificate, key=files.key), []).dimse
    return server, client_context(PeerTls(authority.file, None, None, "server.example"))


@contextmanager
def connected(contexts: tuple[ssl.SSLContext, ssl.SSLContext], name: str = "server.example") -> Iterator[Ends]:
    listening = socket.create_server(("127.0.0.1", 0))
    with listening, socket.create_connection(listening.getsockname()) as near:
        far, _ = listening.accept()
        with far:
            for one in (near, far):
                one.settimeout(20)
            server = TlsTransport.server(PlainTransport(far), contexts[0])
            client = TlsTransport.client(PlainTransport(near), contexts[1], name)
            yield Ends(server, client, (far, near))


@contextmanager
def agreed(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> Iterator[Ends]:
    with connected(contexts) as ends:
        thread = threading.Thread(target=ends.server.handshake, args=(10,))
        thread.start()
        ends.client.handshake(10)
        thread.join()
        yield ends


def received(transport: TlsTransport, count: int, at_a_time: int = 100_000) -> bytes:
    found = bytearray()
    view = memoryview(bytearray(at_a_time))
    while len(found) < count:
        got = transport.receive(view[: count - len(found)])
        assert got
        found += view[:got]
    return bytes(found)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.binary(max_size=60_000), min_size=1, max_size=5), st.integers(1, 70_000))
def test_what_is_sent_in_pieces_comes_whole(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], pieces: list[bytes], at_a_time: int
) -> None:
    with agreed(contexts) as ends:
        sender = threading.Thread(target=ends.client.send, args=(pieces,))
        sender.start()
        assert received(ends.server, sum(map(len, pieces)), at_a_time) == b"".join(pieces)
        sender.join()


def test_what_has_arrived_is_taken_without_waiting(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    view = memoryview(bytearray(100))
    with agreed(contexts) as ends:
        assert ends.server.receive_arrived(view) is None
        ends.client.send([b"abc"])
        assert received(ends.server, 1) == b"a"
        assert ends.server.receive_arrived(view) == 2
        assert ends.server.receive_arrived(view) is None
        ends.client.close()
        assert ends.server.receive(view) == 0
        assert ends.server.receive_arrived(view) == 0


def test_silence_is_told_from_an_end(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    view = memoryview(bytearray(100))
    with agreed(contexts) as ends:
        ends.server.limit_receiving(0.05)
        with pytest.raises(SilenceError):
            ends.server.receive(view)
        ends.client.send([b"later"])
        assert received(ends.server, 5) == b"later"
        ends.sockets[1].shutdown(socket.SHUT_WR)
        with pytest.raises(TransportClosedError):
            ends.server.receive(view)


def test_a_peer_that_takes_nothing_is_silent(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with agreed(contexts) as ends:
        ends.server.limit_sending(0.05)
        with pytest.raises(SilenceError):
            ends.server.send([bytes(64 << 20)])


def test_another_thread_may_stop_who_waits(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with agreed(contexts) as ends:
        threading.Timer(0.05, ends.server.stop).start()
        with pytest.raises(TransportClosedError):
            ends.server.receive(memoryview(bytearray(10)))


def test_a_stalled_handshake_is_silence_in_time(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    with connected(contexts) as ends, pytest.raises(SilenceError):
        ends.server.handshake(0.05)


def test_a_server_of_another_name_is_foreign(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    def hear(ends: Ends) -> None:
        ends.server.handshake(10)
        ends.server.receive(memoryview(bytearray(1)))

    def judged(ends: Ends) -> None:
        with pytest.raises(HandshakeError) as caught:
            hear(ends)
        assert caught.value.fault is Fault.REFUSED_BY_PEER

    with connected(contexts, "other.example") as ends:
        thread = threading.Thread(target=judged, args=(ends,))
        thread.start()
        with pytest.raises(HandshakeError) as caught:
            ends.client.handshake(10)
        assert caught.value.fault is Fault.FOREIGN_CERTIFICATE
        thread.join()


def test_bytes_that_were_read_before_the_handshake_are_part_of_it(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    with connected(contexts) as ends:
        client = threading.Thread(target=ends.client.handshake, args=(10,))
        client.start()
        begun = ends.sockets[0].recv(100)
        server = TlsTransport.server(PlainTransport(ends.sockets[0]), contexts[0], begun)
        server.handshake(10)
        client.join()
