"""A network between a process and its database, which loses what it is told to lose."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

from tests.testbed.plan import HOST


class Loss(Enum):
    NOTHING = auto()
    COMMIT = auto()  # the server never hears of it, the connection ends
    ANSWER_TO_COMMIT = auto()  # the server has done it, the connection ends
    ALL_FROM_COMMIT = auto()  # likewise, and no new ones from then on
    ALL = auto()  # no new connections


class Relay:
    """Hands on what comes, in both directions."""

    def __init__(self, port: int) -> None:
        self.loss = Loss.NOTHING
        self._server = port
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections."""
        for one in list(self._open):
            _end(one)

    def close(self) -> None:
        _end(self._listener)
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.loss is Loss.ALL:
                    _end(client)
                    continue
                try:
                    server = socket.create_connection((HOST, self._server))
                except OSError:
                    _end(client)
                    continue
                self._open |= {client, server}
                lost = threading.Event()
                threading.Thread(target=self._upwards, args=(client, server, lost), daemon=True).start()
                threading.Thread(target=self._downwards, args=(client, server, lost), daemon=True).start()

    def _upwards(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(1 << 16):
                if b"COMMIT\0" in data:
                    if self.loss is Loss.COMMIT:
                        break
                    if self.loss in {Loss.ANSWER_TO_COMMIT, Loss.ALL_FROM_COMMIT}:
                        lost.set()
                    if self.loss is Loss.ALL_FROM_COMMIT:
                        self.loss = Loss.ALL
                server.sendall(data)
        _end(client, server)

    def _downwards(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 16):
                if lost.is_set():
                    break
                client.sendall(data)
        _end(client, server)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


@contextmanager
def between(port: int) -> Iterator[Relay]:
    """To the server that listens on a port."""
    relay = Relay(port)
    try:
        yield relay
    finally:
        relay.close()
