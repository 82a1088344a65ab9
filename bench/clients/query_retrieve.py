"""C-FIND, C-MOVE and C-GET, as fast as a plain loop can ask and receive.

Requests are encoded beforehand; what comes back is counted and its statuses are checked, not decoded.

Source: PS3.7 sections 9.1.2 to 9.1.4, PS3.4 section C.4 (DIMSE-C Service Groups).
"""

import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from bench.clients import upper_layer
from bench.clients.fleet import Run, own_cpu
from bench.clients.upper_layer import CT_IMAGE_STORAGE, ProtocolError, command_set, explicit, us

STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
STUDY_ROOT_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
STUDY_ROOT_GET = "1.2.840.10008.5.1.4.1.2.2.3"
C_STORE_RQ, C_GET_RQ, C_FIND_RQ, C_MOVE_RQ, RESPONSE = 0x0001, 0x0010, 0x0020, 0x0021, 0x8000
PENDING = {0xFF00, 0xFF01}
BUFFER = 4 << 20  # bytes
MAX_PDU = 256 << 10  # bytes that one PDU to us may have
SOCKET_TIMEOUT = 120  # seconds
_FIND, _STORE = 1, 3  # presentation context IDs


@dataclass(frozen=True, slots=True)
class Keys:
    """A C-FIND identifier at the study level: what a worklist of a workstation asks for."""

    patient_name: str = ""
    study_date: str = ""
    patient_id: str = ""

    def encode(self) -> bytes:
        """The identifier, in Explicit VR Little Endian."""
        return b"".join(
            (
                explicit(0x0008, 0x0020, b"DA", self.study_date.encode()),
                explicit(0x0008, 0x0030, b"TM"),
                explicit(0x0008, 0x0050, b"SH"),
                explicit(0x0008, 0x0052, b"CS", b"STUDY"),
                explicit(0x0008, 0x0061, b"CS"),
                explicit(0x0008, 0x1030, b"LO"),
                explicit(0x0010, 0x0010, b"PN", self.patient_name.encode()),
                explicit(0x0010, 0x0020, b"LO", self.patient_id.encode()),
                explicit(0x0010, 0x0030, b"DA"),
                explicit(0x0020, 0x000D, b"UI"),
                explicit(0x0020, 0x1208, b"IS"),
            )
        )


def one_study(study: str) -> bytes:
    """The identifier of C-MOVE and C-GET for a study."""
    return explicit(0x0008, 0x0052, b"CS", b"STUDY") + explicit(0x0020, 0x000D, b"UI", study.encode())


class Association:
    """One association on loopback for one service; a context."""

    def __init__(self, port: int, called: str, sop_class: str, calling: str = "BENCH") -> None:
        storage = (CT_IMAGE_STORAGE,) if sop_class == STUDY_ROOT_GET else ()
        self._sop_class = sop_class
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SOCKET_TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(BUFFER))
        self._start = self._end = 0
        self._body = self._buffer[:0]  # PDVs of a PDU that were not looked at yet
        self._message = 0
        self._socket.sendall(
            upper_layer.associate_request(called, calling, (sop_class, *storage), storage, max_pdu=MAX_PDU)
        )
        kind, body = self._pdu()
        if kind != upper_layer.ASSOCIATE_AC:
            raise ProtocolError(f"{called} did not accept the association: PDU type {kind:#04x}")
        upper_layer.accepted_max_pdu(bytes(body))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.sendall(upper_layer.RELEASE_REQUEST)
        self._pdu()
        self._socket.close()

    def find(self, identifier: bytes) -> int:
        """Ask; the number of matches. Raises ProtocolError."""
        return self._ask(C_FIND_RQ, identifier, {})

    def move(self, identifier: bytes, destination: str) -> int:
        """Have a study sent; the number of completed sub-operations. Raises ProtocolError."""
        return self._ask(C_MOVE_RQ, identifier, {0x0600: destination.encode()})

    def get(self, identifier: bytes) -> int:
        """Fetch a study over this association; the number of instances. Raises ProtocolError."""
        return self._ask(C_GET_RQ, identifier, {})

    def _ask(self, field: int, identifier: bytes, more: dict[int, bytes]) -> int:
        self._message += 1
        command = command_set(
            {
                0x0002: self._sop_class.encode(),
                0x0100: us(field),
                0x0110: us(self._message),
                0x0700: us(0),
                0x0800: us(0),
            }
            | more
        )
        self._socket.sendall(upper_layer.pdu(_FIND, 0x03, command) + upper_layer.pdu(_FIND, 0x02, identifier))
        matches = 0
        while True:
            values = upper_layer.elements_of(self._command())
            kind = struct.unpack("<H", values[0x0100])[0]
            has_data_set = values[0x0800] != b"\x01\x01"
            if has_data_set:
                self._skip_data_set()
            if kind == C_STORE_RQ:
                self._stored(values)
                continue
            status = struct.unpack("<H", values[0x0900])[0]
            if status in PENDING:
                matches += has_data_set
            elif status:
                comment = values.get(0x0902, b"").decode("latin-1")
                raise ProtocolError(f"answered with status {status:#06x} {comment}")
            else:
                return matches if field == C_FIND_RQ else struct.unpack("<H", values[0x1021])[0]

    def _stored(self, request: dict[int, bytes]) -> None:
        response = command_set(
            {
                0x0002: request[0x0002],
                0x0100: us(C_STORE_RQ | RESPONSE),
                0x0120: request[0x0110],
                0x0800: us(0x0101),
                0x0900: us(0),
                0x1000: request[0x1000],
            }
        )
        self._socket.sendall(upper_layer.pdu(_STORE, 0x03, response))

    def _command(self) -> bytes:
        control, fragment = self._fragment()
        command = bytes(fragment)
        while control & 0x03 != 0x03:
            if not control & 0x01:
                raise ProtocolError("a data set's fragment where a command was expected")
            control, fragment = self._fragment()
            command += bytes(fragment)
        return command

    def _skip_data_set(self) -> None:
        while self._fragment()[0] & 0x03 != 0x02:
            pass

    def _fragment(self) -> tuple[int, memoryview]:
        """The next PDV's control header and fragment, valid until the next call."""
        if not self._body:
            kind, self._body = self._pdu()
            if kind != upper_layer.P_DATA:
                raise ProtocolError(f"expected P-DATA, received PDU type {kind:#04x}")
        length, _, control = struct.unpack_from(">IBB", self._body)
        fragment, self._body = self._body[6 : 4 + length], self._body[4 + length :]
        return control, fragment

    def _pdu(self) -> tuple[int, memoryview]:
        """The next PDU's type and variable field, valid until the next call."""
        while self._end - self._start < 6:
            self._receive()
        kind, length = struct.unpack_from(">BxI", self._buffer, self._start)
        while self._end - self._start < 6 + length:
            self._receive()
        body = self._buffer[self._start + 6 : self._start + 6 + length]
        self._start += 6 + length
        return kind, body

    def _receive(self) -> None:
        if self._start > BUFFER // 2:
            left = self._end - self._start
            self._buffer[:left] = self._buffer[self._start : self._end]
            self._start, self._end = 0, left
        received = self._socket.recv_into(self._buffer[self._end :])
        if not received:
            raise ProtocolError("the peer closed the connection")
        self._end += received


def finds(port: int, called: str, identifiers: Sequence[bytes], expected: int | None = None) -> Run:
    """Ask one query after another over one association; each one's seconds are its latency.

    Args:
        port: the server's.
        called: its AE title.
        identifiers: of the queries.
        expected: matches of each query.

    Raises:
        ProtocolError: a query failed, or found another number.
    """
    latencies: list[float] = []
    with Association(port, called, STUDY_ROOT_FIND) as association:
        cpu, begin = own_cpu(), time.perf_counter()
        for identifier in identifiers:
            start = time.perf_counter()
            found = association.find(identifier)
            latencies.append(time.perf_counter() - start)
            if expected is not None and found != expected:
                raise ProtocolError(f"found {found} studies instead of {expected}")
        return Run(time.perf_counter() - begin, own_cpu() - cpu, tuple(latencies))


def retrieve(port: int, called: str, study: str, destination: str | None, expected: int) -> Run:
    """C-MOVE a study to `destination`, or C-GET it, association included.

    Raises:
        ProtocolError: not all of it came.
    """
    sop_class = STUDY_ROOT_GET if destination is None else STUDY_ROOT_MOVE
    cpu, start = own_cpu(), time.perf_counter()
    with Association(port, called, sop_class) as association:
        if destination is None:
            done = association.get(one_study(study))
        else:
            done = association.move(one_study(study), destination)
    seconds = time.perf_counter() - start
    if done != expected:
        raise ProtocolError(f"{done} of {expected} instances came")
    return Run(seconds, own_cpu() - cpu)
