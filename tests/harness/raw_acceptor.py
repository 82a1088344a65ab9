"""An acceptor that does what it is told, right or wrong, byte by byte: what a client may meet."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

Script = Callable[["Accepting"], None]

VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def pdu(kind: int, body: bytes) -> bytes:
    return struct.pack(">BxI", kind, len(body)) + body


def p_data(context_id: int, control: int, value: bytes) -> bytes:
    return pdu(4, struct.pack(">IBB", len(value) + 2, context_id, control) + value)


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def us(number: int, value: int) -> bytes:
    return element(number, struct.pack("<H", value))


def command_set(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return element(0, struct.pack("<I", len(body))) + body


def response(field: int, message_id: int, status: int) -> bytes:
    return command_set(us(0x100, field), us(0x120, message_id), us(0x800, 0x101), us(0x900, status))


class Accepting:
    """One connection, on the acceptor's side."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._file = connection.makefile("rb")

    def receive(self) -> tuple[int, bytes]:
        """The next PDU's type and body; (0, b'') at the end."""
        header = self._file.read(6)
        if len(header) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxI", header)
        return kind, self._file.read(length)

    def send(self, *pdus: bytes) -> None:
        self.socket.sendall(b"".join(pdus))

    def accept(self, result: int = 0, syntax: str = IMPLICIT, max_length: int = 16384, context_id: int = 1) -> None:
        """Take the association request, answer it with one presentation context."""
        kind, body = self.receive()
        assert kind == 1
        context = item(0x21, struct.pack(">BxBx", context_id, result) + item(0x40, syntax.encode()))
        user = item(0x50, item(0x51, struct.pack(">I", max_length)) + item(0x52, b"1.2.3"))
        self.send(pdu(2, body[:68] + item(0x10, b"1.2.840.10008.3.1.1.1") + context + user))

    def until_closed(self) -> None:
        """Read on until the client closes."""
        while self._file.read(65536):
            pass

    def reset(self) -> None:
        """End the connection as a crash does."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._file.close()
        self.socket.close()


@contextmanager
def accepting(script: Script) -> Iterator[int]:
    """Listen; do `script` for each connection. Yields the port."""
    failed: list[BaseException] = []

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, suppress(ConnectionError):
                connection.settimeout(20)
                try:
                    script(Accepting(connection))
                except (AssertionError, TimeoutError) as error:
                    failed.append(error)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,), daemon=True)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(20)
    assert failed == []
