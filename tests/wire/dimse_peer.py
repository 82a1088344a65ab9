"""A requestor that sends what it is told, right or wrong, byte by byte as the standard writes it."""

import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
IMPLICIT = "1.2.840.10008.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"

RELEASE_RQ = struct.pack(">BxI4x", 5, 4)
RELEASE_RP = struct.pack(">BxI4x", 6, 4)
ABORT = struct.pack(">BxI4x", 7, 4)

CONTEXTS = ((1, VERIFICATION, (IMPLICIT,)), (3, CT, (EXPLICIT, IMPLICIT)))


def item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(value)) + value


def context(number: int, abstract: str, syntaxes: tuple[str, ...]) -> bytes:
    inner = item(0x30, abstract.encode()) + b"".join(item(0x40, one.encode()) for one in syntaxes)
    return item(0x20, struct.pack(">Bxxx", number) + inner)


def user_information(max_length: int = 16384, extra: bytes = b"") -> bytes:
    return item(0x50, item(0x51, struct.pack(">I", max_length)) + item(0x52, b"1.2.3") + item(0x55, b"PEER") + extra)


def associate_rq(
    called: str = "IMAGEREPO",
    calling: str = "PEER",
    contexts: tuple[tuple[int, str, tuple[str, ...]], ...] = CONTEXTS,
    application: str = "1.2.840.10008.3.1.1.1",
    version: int = 1,
    max_length: int = 16384,
    extra: bytes = b"",
) -> bytes:
    body = struct.pack(">H2x16s16s32x", version, called.ljust(16).encode(), calling.ljust(16).encode())
    body += item(0x10, application.encode())
    body += b"".join(context(*one) for one in contexts)
    body += user_information(max_length, extra)
    return struct.pack(">BxI", 1, len(body)) + body


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def us(number: int, value: int) -> bytes:
    return element(number, struct.pack("<H", value))


def ui(number: int, value: str) -> bytes:
    return element(number, value.encode() + b"\0" * (len(value) % 2))


def command(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return element(0, struct.pack("<I", len(body))) + body


def echo_command(message: int = 1) -> bytes:
    return command(ui(0x2, VERIFICATION), us(0x100, 0x30), us(0x110, message), us(0x800, 0x101))


def store_command(instance: str, sop_class: str = CT, message: int = 1) -> bytes:
    return command(
        ui(0x2, sop_class),
        us(0x100, 1),
        us(0x110, message),
        us(0x700, 0),
        us(0x800, 0),
        *((ui(0x1000, instance),) if instance else ()),
    )


def pdv(context_id: int, control: int, value: bytes) -> bytes:
    return struct.pack(">IBB", len(value) + 2, context_id, control) + value


def p_data(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return struct.pack(">BxI", 4, len(body)) + body


def message(context_id: int, command_set: bytes, data_set: bytes = b"", pdu: int = 16384) -> bytes:
    """A whole message in PDUs of at most `pdu` bytes."""
    parts = [p_data(pdv(context_id, 3, command_set))]
    step = pdu - 6
    for start in range(0, len(data_set), step):
        last = 2 if start + step >= len(data_set) else 0
        parts.append(p_data(pdv(context_id, last, data_set[start : start + step])))
    return b"".join(parts)


def data_set(instance: str = "1.2.3.4.5", pixels: int = 512, **attributes: str) -> bytes:
    """A small CT in explicit VR little endian."""
    ds = Dataset()
    ds.SOPClassUID = CT
    ds.SOPInstanceUID = instance
    ds.StudyInstanceUID = "1.2.3"
    ds.SeriesInstanceUID = "1.2.3.4"
    ds.PatientID = "P1"
    ds.Modality = "CT"
    ds.Rows = ds.Columns = 16
    ds.BitsAllocated = 16
    for keyword, value in attributes.items():
        setattr(ds, keyword, value)
    ds.add_new(0x7FE00010, "OW", bytes(pixels))
    file = DicomBytesIO()
    file.is_little_endian = True
    file.is_implicit_VR = False
    write_dataset(file, ds)
    return file.getvalue()


@dataclass(frozen=True)
class Response:
    status: int
    responds_to: int
    comment: str


def parse_response(pdu_body: bytes) -> Response:
    values: dict[int, bytes] = {}
    at = 6
    while at < len(pdu_body):
        _, number, length = struct.unpack_from("<HHI", pdu_body, at)
        values[number] = pdu_body[at + 8 : at + 8 + length]
        at += 8 + length
    status, responds_to = (struct.unpack("<H", values[number])[0] for number in (0x900, 0x120))
    return Response(status, responds_to, values.get(0x902, b"").decode().rstrip())


class Peer:
    """One connection to the server."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def receive(self) -> tuple[int, bytes]:
        """The next PDU's type and body; (0, b'') at the end."""
        header = self._file.read(6)
        if len(header) < 6:
            return 0, b""
        kind, length = struct.unpack(">BxI", header)
        return kind, self._file.read(length)

    def associate(self, request: bytes | None = None) -> bytes:
        """Open the association; returns the A-ASSOCIATE-AC's body."""
        self.send(request or associate_rq())
        kind, body = self.receive()
        assert kind == 2, (kind, body)
        return body

    def response(self) -> Response:
        kind, body = self.receive()
        assert kind == 4, (kind, body)
        return parse_response(body)

    def echo(self) -> Response:
        self.send(message(1, echo_command()))
        return self.response()

    def store(self, data: bytes, instance: str = "1.2.3.4.5") -> Response:
        self.send(message(3, store_command(instance), data))
        return self.response()

    def aborted(self) -> tuple[int, int]:
        """Source and reason of the A-ABORT that comes next."""
        kind, body = self.receive()
        assert kind == 7, (kind, body)
        return body[2], body[3]

    def release(self) -> None:
        self.send(RELEASE_RQ)
        assert self.receive()[0] == 6


def rejected(peer: Peer, request: bytes) -> tuple[int, int, int]:
    """Result, source and reason of the A-ASSOCIATE-RJ."""
    peer.send(request)
    kind, body = peer.receive()
    assert kind == 3, (kind, body)
    return body[1], body[2], body[3]
