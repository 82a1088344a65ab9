"""A C-STORE sender that costs next to nothing: bytes as PS3.7 and PS3.8 write them, over a socket."""

import socket
import struct
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.harness.dicom_file import CT, EXPLICIT, MULTI_FRAME

SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
_CONTEXTS = {CT: 1, MULTI_FRAME: 3}


class EndedError(Exception):
    """The server ended the association, or the connection broke."""


class DimseClient:
    """One association."""

    def __init__(self, port: int, calling: str = "SENDER", timeout: float = 60, source: str | None = None) -> None:
        """Connect, from an address if one is given, and associate. Raises EndedError."""
        comes_from = None if source is None else (source, 0)
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), timeout, comes_from)
        except OSError as error:
            raise EndedError(str(error)) from error
        try:
            self._pdu = self._associate(calling) - 6
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def _associate(self, calling: str) -> int:
        """Bytes of the largest PDU to send."""
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(_associate(calling))
            kind, body = self._receive()
        except OSError as error:
            raise EndedError(str(error)) from error
        if kind != 2:
            raise EndedError(f"PDU of type {kind} instead of A-ASSOCIATE-AC: {body!r}")
        return min(_max_length(body) or 1 << 18, 1 << 18)

    def store(self, instance: str, data_set: bytes, sop_class: str = CT) -> int:
        """C-STORE; the status. Raises EndedError."""
        return self.store_streamed(instance, [data_set], sop_class)

    def store_streamed(self, instance: str, chunks: Iterable[bytes], sop_class: str = CT) -> int:
        """C-STORE of a data set that comes in chunks, none empty; the status. Raises EndedError."""
        context = _CONTEXTS[sop_class]
        try:
            command = _store_command(instance, sop_class)
            self._socket.sendall(_pdv(context, 3, command))
            for piece, last in _with_last(self._cut(chunks)):
                self._socket.sendall(_pdv(context, 2 if last else 0, piece))
            kind, body = self._receive()
        except OSError as error:
            raise EndedError(str(error)) from error
        if kind != 4:
            raise EndedError(f"PDU of type {kind}")
        return _status(body)

    def begin(self, instance: str, data_set: bytes) -> None:
        """Send a C-STORE's command and the first half of its data set."""
        self._socket.sendall(_pdv(1, 3, _store_command(instance, CT)))
        for piece in self._cut([data_set[: len(data_set) // 2]]):
            self._socket.sendall(_pdv(1, 0, piece))

    def finish(self, data_set: bytes) -> int:
        """Send the second half; the status."""
        for piece, last in _with_last(self._cut([data_set[len(data_set) // 2 :]])):
            self._socket.sendall(_pdv(1, 2 if last else 0, piece))
        kind, body = self._receive()
        if kind != 4:
            raise EndedError(f"PDU of type {kind}")
        return _status(body)

    def release(self) -> None:
        """End the association in order."""
        self._socket.sendall(struct.pack(">BxI4x", 5, 4))
        kind, _ = self._receive()
        if kind != 6:
            raise EndedError(f"PDU of type {kind} instead of A-RELEASE-RP")

    def _cut(self, chunks: Iterable[bytes]) -> Iterable[bytes]:
        for chunk in chunks:
            for start in range(0, len(chunk), self._pdu):
                yield chunk[start : start + self._pdu]

    def _receive(self) -> tuple[int, bytes]:
        head = self._exactly(6)
        kind, length = struct.unpack(">BxI", head)
        return kind, self._exactly(length)

    def _exactly(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = self._socket.recv(size - len(found))
            if not more:
                raise EndedError("the connection ended")
            found += more
        return found


def _with_last(pieces: Iterable[bytes]) -> Iterable[tuple[bytes, bool]]:
    kept: bytes | None = None
    for piece in pieces:
        if kept is not None:
            yield kept, False
        kept = piece
    assert kept is not None
    yield kept, True


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def _associate(calling: str) -> bytes:
    body = struct.pack(">H2x16s16s32x", 1, b"IMAGEREPO".ljust(16), calling.ljust(16).encode())
    body += _item(0x10, b"1.2.840.10008.3.1.1.1")
    for sop_class, number in _CONTEXTS.items():
        inner = _item(0x30, sop_class.encode()) + _item(0x40, EXPLICIT.encode())
        body += _item(0x20, struct.pack(">Bxxx", number) + inner)
    body += _item(0x50, _item(0x51, struct.pack(">I", 1 << 18)) + _item(0x52, b"1.2.3"))
    return struct.pack(">BxI", 1, len(body)) + body


def _max_length(body: bytes) -> int:
    at = 68
    while at + 4 <= len(body):
        kind, length = struct.unpack_from(">BxH", body, at)
        if kind == 0x50:
            inner = at + 4
            while inner < at + 4 + length:
                sub, size = struct.unpack_from(">BxH", body, inner)
                if sub == 0x51:
                    return struct.unpack_from(">I", body, inner + 4)[0]
                inner += 4 + size
        at += 4 + length
    return 0


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def _uid(number: int, value: str) -> bytes:
    return _element(number, value.encode() + b"\0" * (len(value) % 2))


def _store_command(instance: str, sop_class: str) -> bytes:
    numbers = [_element(number, struct.pack("<H", value)) for number, value in ((0x100, 1), (0x110, 1), (0x700, 0))]
    body = _uid(0x2, sop_class) + b"".join(numbers) + _element(0x800, b"\0\0") + _uid(0x1000, instance)
    return _element(0, struct.pack("<I", len(body))) + body


def _pdv(context: int, control: int, value: bytes) -> bytes:
    return struct.pack(">BxIIBB", 4, len(value) + 6, len(value) + 2, context, control) + value


def _status(body: bytes) -> int:
    at = 6
    while at + 8 <= len(body):
        _, number, length = struct.unpack_from("<HHI", body, at)
        if number == 0x900:
            return struct.unpack_from("<H", body, at + 8)[0]
        at += 8 + length
    raise EndedError("a response without status")
