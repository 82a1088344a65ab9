import socket
import struct
import threading
import time
from collections.abc import Sequence

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.model.events import Committed, Request
from imagerepo.proxy_protocol import SIGNATURE
from imagerepo.settings import Institution, Sender, Settings
from tests.wire.dimse_peer import Peer, associate_rq, data_set, message, rejected, store_command
from tests.wire.dimse_serving import serving

DATA = data_set()


def proxied(address: str) -> bytes:
    return SIGNATURE + struct.pack(">BBH", 0x21, 0x11, 12) + socket.inet_aton(address) + bytes(8)


BEHIND_PROXY = Settings(
    trusted_proxies=("127.0.0.1",),
    institutions=(Institution(id="clinic", senders=(Sender(ae_title="PEER", addresses=("192.0.2.0/24",)),)),),
)


def test_a_trusted_proxy_names_the_sender() -> None:
    with serving(BEHIND_PROXY) as served:
        with Peer(served.port) as peer:
            peer.send(proxied("192.0.2.7"))
            peer.associate()
            assert peer.store(DATA).status == 0
        with Peer(served.port) as peer:
            assert rejected(peer, proxied("198.51.100.7") + associate_rq()) == (1, 1, 3)
    assert [entry.caller.address for entry in served.memory.journal] == ["192.0.2.7", "198.51.100.7"]


def test_a_trusted_proxy_has_to_name_the_sender() -> None:
    with serving(BEHIND_PROXY) as served, Peer(served.port) as peer:
        peer.send(associate_rq())
        assert peer.aborted() == (2, 1)
        assert peer.receive() == (0, b"")


def test_from_others_a_proxy_header_is_garbage() -> None:
    with serving() as served, Peer(served.port) as peer:
        peer.send(proxied("192.0.2.7") + associate_rq())
        assert peer.aborted() == (0, 0)


def test_a_proxy_header_may_come_in_pieces_and_the_rest_with_it() -> None:
    with serving(BEHIND_PROXY) as served, Peer(served.port) as peer:
        stream = proxied("192.0.2.7") + associate_rq()
        for at in range(20):
            peer.send(stream[at : at + 1])
            time.sleep(0.001)
        peer.send(stream[20:])
        assert peer.receive()[0] == 2


def test_draining_lets_associations_end_and_accepts_no_more() -> None:
    # Connections are accepted in their order: once the second one's association stands, the first one was.
    with serving() as served, Peer(served.port) as late, Peer(served.port) as peer:
        peer.associate()
        drain = threading.Thread(target=served.server.drain, args=(20,))
        drain.start()
        assert peer.store(DATA).status == 0
        assert rejected(late, associate_rq()) == (2, 3, 1)
        late.__exit__(None, None, None)
        peer.release()
        peer.__exit__(None, None, None)
        drain.join(10)
        assert not drain.is_alive()
        assert served.server.associations == 0


def test_an_association_that_stands_idle_does_not_hold_the_end_up() -> None:
    with serving() as served, Peer(served.port) as peer:
        peer.associate()
        assert peer.store(DATA).status == 0
        drain = threading.Thread(target=served.server.drain, args=(600,))
        drain.start()
        assert peer.aborted() == (2, 0)
        peer.__exit__(None, None, None)
        drain.join(10)
        assert not drain.is_alive()


def test_an_association_whose_requests_follow_each_other_has_the_whole_grace() -> None:
    with serving() as served, Peer(served.port) as peer:
        peer.associate()
        drain = threading.Thread(target=served.server.drain, args=(600,))
        drain.start()
        for _ in range(10):
            time.sleep(0.5)  # together more than one that stands idle is given
            assert peer.store(DATA).status == 0
        peer.release()
        peer.__exit__(None, None, None)
        drain.join(10)
        assert not drain.is_alive()


def test_when_the_grace_is_over_idle_associations_are_aborted() -> None:
    with serving() as served, Peer(served.port) as peer:
        peer.associate()
        drain = threading.Thread(target=served.server.drain, args=(0.2,))
        drain.start()
        assert peer.aborted() == (2, 0)
        peer.__exit__(None, None, None)
        drain.join(10)
        assert served.server.associations == 0


class SlowCommits(MemoryCommits):
    """A disk that takes its time."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self.begun, self.go_on = threading.Event(), threading.Event()

    def commit(self, requests: Sequence[Request]) -> Sequence[Committed]:
        self.begun.set()
        assert self.go_on.wait(20)
        return super().commit(requests)


def test_a_request_in_progress_when_the_grace_ends_is_answered() -> None:
    commits = SlowCommits(Memory())
    with serving(commits=commits) as served, Peer(served.port) as peer:
        peer.associate()
        peer.send(message(3, store_command("1.2.3.4.5"), DATA))
        assert commits.begun.wait(10)
        drain = threading.Thread(target=served.server.drain, args=(0,))
        drain.start()
        time.sleep(0.1)
        commits.go_on.set()
        assert peer.response().status == 0
        assert peer.aborted() == (2, 0)
        drain.join(10)
        assert not drain.is_alive()
