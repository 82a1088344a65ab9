"""Read PDUs in place from one large buffer, and write the short ones.

A thread per association receives as much as fits at once; what a PDU carries is handed on as views into
the buffer, so that the bytes of a data set are copied once, by whoever keeps them. A P-DATA-TF PDU may be
larger than the buffer: its values are handed on in pieces as they come.

Source: PS3.8 section 9.3 (DICOM Upper Layer Protocol for TCP/IP Data Units Structure).
"""

import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from imagerepo.dimse.transport import EndedError, SilenceError, Transport, TransportClosedError
from imagerepo.errors import BadRequestError
from imagerepo.model.arrival import Buffer

BUFFER_SIZE: Final = 256 * 1024
"""Bytes received at a time at the most. Pages that nothing was received into take no memory."""

_HEADER: Final = struct.Struct(">BxI")
_PDV_HEADER: Final = struct.Struct(">IBB")
_DATA_HEADER: Final = struct.Struct(">BxIIBB")  # of a P-DATA-TF PDU and its first PDV
LAST: Final = 2
"""The bit of the message control header that marks a last fragment (PS3.8 Annex E.2)."""
PDV_OVERHEAD: Final = 6
"""Bytes in a PDU of one PDV beside its fragment."""
_LARGEST: Final = 640 << 10  # bytes of a fragment where the peer takes any
_ABORT: Final = struct.Struct(">BxIxxBB")
_REJECT: Final = struct.Struct(">BxIxBBB")


class PduType(IntEnum):
    """PDU types (PS3.8 sections 9.3.2 to 9.3.8)."""

    ASSOCIATE_RQ = 1
    ASSOCIATE_AC = 2
    ASSOCIATE_RJ = 3
    P_DATA_TF = 4
    RELEASE_RQ = 5
    RELEASE_RP = 6
    ABORT = 7


class AbortSource(IntEnum):
    """Who aborts (PS3.8 Table 9-26)."""

    SERVICE_USER = 0
    SERVICE_PROVIDER = 2


class AbortReason(IntEnum):
    """Why a service provider aborts (PS3.8 Table 9-26); a service user gives NOT_SPECIFIED."""

    NOT_SPECIFIED = 0
    UNRECOGNIZED_PDU = 1
    UNEXPECTED_PDU = 2
    UNRECOGNIZED_PARAMETER = 4
    UNEXPECTED_PARAMETER = 5
    INVALID_PARAMETER_VALUE = 6


@dataclass(frozen=True, slots=True)
class Abort:
    """The fields of an A-ABORT PDU (PS3.8 section 9.3.8)."""

    source: AbortSource
    reason: AbortReason

    def encode(self) -> bytes:
        """The whole PDU."""
        return _ABORT.pack(PduType.ABORT, 4, self.source, self.reason)


class RejectResult(IntEnum):
    """Whether trying again may help (PS3.8 Table 9-21)."""

    PERMANENT = 1
    TRANSIENT = 2


class RejectReason(IntEnum):
    """Why an association is rejected (PS3.8 Table 9-21): source * 256 + reason."""

    NO_REASON_GIVEN = 0x0101
    APPLICATION_CONTEXT_NOT_SUPPORTED = 0x0102
    CALLING_AE_NOT_RECOGNIZED = 0x0103
    CALLED_AE_NOT_RECOGNIZED = 0x0107
    PROTOCOL_VERSION_NOT_SUPPORTED = 0x0202
    TEMPORARY_CONGESTION = 0x0301
    LOCAL_LIMIT_EXCEEDED = 0x0302


@dataclass(frozen=True, slots=True)
class Reject:
    """The fields of an A-ASSOCIATE-RJ PDU (PS3.8 section 9.3.4)."""

    result: RejectResult
    reason: RejectReason

    def encode(self) -> bytes:
        """The whole PDU."""
        return _REJECT.pack(PduType.ASSOCIATE_RJ, 4, self.result, self.reason >> 8, self.reason & 0xFF)


RELEASE_RQ: Final = _HEADER.pack(PduType.RELEASE_RQ, 4) + bytes(4)
RELEASE_RP: Final = _HEADER.pack(PduType.RELEASE_RP, 4) + bytes(4)


class InvalidPduError(BadRequestError):
    """A PDU is unrecognized or invalid; `reason` goes into the A-ABORT PDU."""

    def __init__(self, message: str, reason: AbortReason = AbortReason.INVALID_PARAMETER_VALUE) -> None:
        super().__init__(message)
        self.reason = reason


class StoppedError(EndedError):
    """The association was stopped from outside (`PduReader.stop`)."""


class PduReader:
    """Receives from one connection. Belongs to one thread, except for `stop`.

    Every method that receives raises TransportClosedError, SilenceError or StoppedError.
    """

    def __init__(self, transport: Transport, timeout: float, size: int = BUFFER_SIZE) -> None:
        """Set limits and allocate the buffer.

        Args:
            transport: connected.
            timeout: seconds without a byte (received; accepted by the peer) after which SilenceError is raised.
            size: of the buffer, in bytes.
        """
        self._transport = transport
        self._timeout = timeout
        self._deadline: float | None = None
        self._buffer = bytearray(size)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self._stopped = False
        self.unread = 0  # bytes of the present PDU that whoever reads its parts has not taken; kept by them
        transport.limit_sending(timeout)
        transport.limit_receiving(timeout)

    @property
    def transport(self) -> Transport:
        """What is read from."""
        return self._transport

    def set_deadline(self, seconds: float | None) -> None:
        """Raise SilenceError that many seconds from now whatever comes until then; None lifts it.

        What is sent meanwhile waits no longer either for a peer that takes nothing.
        """
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._transport.limit_sending(self._timeout if seconds is None else min(seconds, self._timeout))
        if seconds is None:
            self._transport.limit_receiving(self._timeout)

    def stop(self) -> None:
        """Make the thread that receives, now or next, raise StoppedError. May be called by any thread."""
        self._stopped = True
        self._transport.stop()

    def resume(self) -> None:
        """Let receiving go on after StoppedError, to see the peer close."""
        self._stopped = False

    def header(self) -> tuple[int, int]:
        """The next PDU's type and length: bytes after the header."""
        return _HEADER.unpack_from(self._buffer, self._take(_HEADER.size))

    def pdv_header(self) -> tuple[int, int, int]:
        """The next PDV's length (of what follows the length field), context ID and message control header."""
        return _PDV_HEADER.unpack_from(self._buffer, self._take(_PDV_HEADER.size))

    def body(self, length: int) -> memoryview:
        """All of a PDU's body, valid until the next call.

        Raises:
            InvalidPduError: it is longer than the buffer.
        """
        if length > len(self._buffer):
            raise InvalidPduError(f"a PDU of {length} bytes that does not carry data")
        start = self._take(length)
        return self._view[start : start + length]

    def piece(self, limit: int) -> memoryview:
        """At least one and at most `limit` of the next bytes, valid until the next call."""
        if self._start == self._end:
            self._receive()
        start = self._start
        self._start = min(start + limit, self._end)
        return self._view[start : self._start]

    def peek(self) -> memoryview:
        """What was received and not taken, at least one byte, valid until the next call."""
        if self._start == self._end:
            self._receive()
        return self._view[self._start : self._end]

    def more(self) -> None:
        """Receive more behind what was not taken.

        Raises:
            InvalidPduError: the buffer is full.
        """
        if self._end - self._start == len(self._buffer):
            raise InvalidPduError("the buffer is full")
        self._receive()

    def arrived(self) -> memoryview | None:
        """The next PDU with its header, if it is there whole, without waiting and without taking it.

        Raises:
            StoppedError, TransportClosedError: nothing more will come.
        """
        while (pdu := self._whole()) is None:
            if self._stopped:
                raise StoppedError
            self._make_room()
            if self._end == len(self._buffer):
                return None  # larger than the buffer
            count = self._transport.receive_arrived(self._view[self._end :])
            if count is None:
                return None
            self._take_in(count)
        return pdu

    def _whole(self) -> memoryview | None:
        have = self._end - self._start
        if have < _HEADER.size:
            return None
        length = _HEADER.size + int(_HEADER.unpack_from(self._buffer, self._start)[1])
        return self._view[self._start : self._start + length] if length <= have else None

    def rest(self) -> bytes:
        """What was received and not taken, without waiting; it is taken now."""
        start, self._start = self._start, self._end
        return bytes(self._view[start : self._end])

    def skip(self, count: int) -> None:
        """Pass over `count` bytes."""
        while count:
            count -= len(self.piece(count))

    def _take(self, count: int) -> int:
        """Take `count` bytes that lie side by side; returns where."""
        while self._end - self._start < count:
            self._receive()
        start = self._start
        self._start += count
        return start

    def _receive(self) -> None:
        self._make_room()
        self._before_waiting()
        self._take_in(self._transport.receive(self._view[self._end :]))

    def _make_room(self) -> None:
        start, end = self._start, self._end
        if start == end:
            self._start = self._end = 0
        elif len(self._buffer) - end < _PDV_HEADER.size or start > end - start:
            # Only a header or a short PDU that was cut off is ever moved.
            self._view[: end - start] = self._view[start:end]
            self._start, self._end = 0, end - start

    def _take_in(self, count: int) -> None:
        """Add `count` bytes to what was received."""
        if self._stopped:
            raise StoppedError
        if not count:
            raise TransportClosedError("closed by the peer")
        self._end += count

    def _before_waiting(self) -> None:
        if self._stopped:
            raise StoppedError
        if self._deadline is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise SilenceError
            self._transport.limit_receiving(min(left, self._timeout))

    def send(self, pdu: Buffer) -> None:
        """Send all of `pdu`. Raises TransportClosedError or SilenceError (the peer does not read)."""
        self._transport.send((pdu,))

    def send_all(self, buffers: Sequence[Buffer]) -> None:
        """Send all of these, written at once. Raises TransportClosedError or SilenceError."""
        self._transport.send(buffers)


def only_pdv(pdu: memoryview) -> tuple[int, memoryview] | None:
    """Message control header and value of a P-DATA-TF PDU that holds one PDV; None: it does not."""
    body = pdu[_HEADER.size :]
    if len(body) < _PDV_HEADER.size:
        return None
    length, _, control = _PDV_HEADER.unpack_from(body)
    return (control, body[_PDV_HEADER.size :]) if length + 4 == len(body) else None


@dataclass(frozen=True, slots=True)
class Framing:
    """How a data set is to be cut and sent."""

    context_id: int  # of the presentation context
    max_length: int  # bytes of the largest PDU that the peer receives, after its header; 0: any
    takes_lent: bool  # whether the buffers go to the kernel as they are (transport.Transport.takes_lent)


def data_header(context_id: int, length: int, control: int) -> bytes:
    """The header of a P-DATA-TF PDU with one PDV, whose fragment has `length` bytes (PS3.8 section 9.3.5)."""
    return _DATA_HEADER.pack(PduType.P_DATA_TF, length + PDV_OVERHEAD, length + 2, context_id, control)


def step(framing: Framing, most: int) -> int:
    """Bytes of a fragment, but for the last one: even, as the elements of a data set are; at most about `most`."""
    return min(framing.max_length - PDV_OVERHEAD, most) & ~1 if framing.max_length else most & ~1


def pdus(part: memoryview, framing: Framing, control: int = 0) -> list[Buffer]:
    """Some of a data set as P-DATA-TF PDUs; `control` is the message control header of the last one."""
    return _cut(part, step(framing, _LARGEST), framing.context_id, 0, control)


def _cut(value: bytes | memoryview, size: int, context_id: int, control: int, last: int) -> list[Buffer]:
    """Headers and fragments by turns; `control` is in all headers but the last one, which has `last`."""
    buffers: list[Buffer] = []
    for start in range(0, len(value), size):
        part = value[start : start + size]
        buffers += (data_header(context_id, len(part), last if start + size >= len(value) else control), part)
    return buffers


def data_pdus(context_id: int, value: bytes, control: int, max_length: int) -> bytes:
    """P-DATA-TF PDUs with one PDV each for a whole command or data set (PS3.8 section 9.3.5, Annex E.2).

    Args:
        context_id: of the presentation context.
        value: the command set, or the data set.
        control: message control header of the last PDV without its "last" bit: 1 a command, 0 a data set.
        max_length: the largest PDU that the peer receives, in bytes after its header; 0: any.
    """
    whole = len(value)
    step = max_length - _PDV_HEADER.size
    if not max_length or whole <= step:
        return data_header(context_id, whole, control | LAST) + value
    return b"".join(_cut(value, step, context_id, control, control | LAST))
