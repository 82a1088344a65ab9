"""What a connection is to the upper layer: bytes in, bytes out, each with a limit of silence.

The one seam between DIMSE and how bytes travel: plain TCP here, TLS beside it.

Source: PS3.8 section 9.1 (use of TCP).
"""

import errno
import socket
import struct
from collections.abc import Sequence
from typing import Final, Protocol

from imagerepo.errors import DamagedError
from imagerepo.model.arrival import Buffer

_TIMEVAL: Final = struct.Struct("@ll")
_LEAST_TIMEOUT: Final = 0.001  # seconds; zero would mean for ever
_MOST_BUFFERS: Final = 1024  # in one call: Linux' IOV_MAX

# Senders that leave Nagle on hold a message's last segment back until all before it are acknowledged, which
# Linux delays by 40 ms. Asking for quick acknowledgement holds for a while only, hence after each receive.
_QUICKACK: Final[int | None] = getattr(socket, "TCP_QUICKACK", None)


class EndedError(Exception):
    """The association goes no further; what was under way gives back what it holds and lets this pass."""


class TransportClosedError(EndedError):
    """The peer closed the connection, or it broke."""


class SilenceError(EndedError):
    """Nothing came, or nothing could be sent, for as long as was allowed."""


class Transport(Protocol):
    """One connection. Belongs to one thread, except for `stop`.

    What receives or sends raises TransportClosedError or SilenceError.
    """

    @property
    def takes_lent(self) -> bool:
        """Whether what is sent goes to the kernel without being looked at (ports.objects.Objects.lend)."""
        ...

    def limit_sending(self, seconds: float) -> None:
        """Raise SilenceError when the peer takes nothing for so many seconds."""
        ...

    def limit_receiving(self, seconds: float) -> None:
        """Raise SilenceError when nothing comes for so many seconds."""
        ...

    def receive(self, into: memoryview) -> int:
        """Wait for bytes; returns how many came, 0 at the end of the stream."""
        ...

    def receive_arrived(self, into: memoryview) -> int | None:
        """What has arrived already, without waiting; None: nothing, 0: the end of the stream."""
        ...

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send all of these, in order, as if they were one."""
        ...

    def stop(self) -> None:
        """Wake the thread that waits in `receive`, now or next. May be called by any thread."""
        ...


class PlainTransport:
    """TCP as it is. The kernel's own timeouts are used: Python's would poll before each call."""

    def __init__(self, connection: socket.socket) -> None:
        """Prepare a connected socket, which stays its owner's to close."""
        self._connection = connection
        self._sending_limit = self._receiving_limit = b""  # as the kernel has them
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    @property
    def takes_lent(self) -> bool:
        """The kernel copies it."""
        return True

    def limit_sending(self, seconds: float) -> None:
        """Raise SilenceError when the peer takes nothing for so many seconds."""
        if (limit := _timeval(seconds)) != self._sending_limit:
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
            self._sending_limit = limit

    def limit_receiving(self, seconds: float) -> None:
        """Raise SilenceError when nothing comes for so many seconds."""
        if (limit := _timeval(seconds)) != self._receiving_limit:
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
            self._receiving_limit = limit

    def receive(self, into: memoryview) -> int:
        """Wait for bytes; returns how many came, 0 at the end of the stream."""
        try:
            count = self._connection.recv_into(into)
            if _QUICKACK is not None:
                self._connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        except BlockingIOError as error:
            raise SilenceError from error
        except OSError as error:
            raise TransportClosedError(str(error)) from error
        return count

    def receive_arrived(self, into: memoryview) -> int | None:
        """What has arrived already, without waiting; None: nothing, 0: the end of the stream."""
        try:
            return self._connection.recv_into(into, 0, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None
        except OSError as error:
            raise TransportClosedError(str(error)) from error

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send all of these, in order, as if they were one. Raises DamagedError if what was lent cannot be read."""
        try:
            if len(buffers) == 1:
                self._connection.sendall(buffers[0])
                return
            left = sum(map(len, buffers))
            while left:
                sent = self._connection.sendmsg(buffers[:_MOST_BUFFERS])
                left -= sent
                if left:
                    buffers = _after(buffers, sent)
        except BlockingIOError as error:
            raise SilenceError from error
        except OSError as error:
            if error.errno == errno.EFAULT:
                raise DamagedError("what is stored cannot be read while it is sent; look at the disk") from error
            raise TransportClosedError(str(error)) from error

    def stop(self) -> None:
        """Wake the thread that waits in `receive`, now or next. May be called by any thread."""
        try:
            self._connection.shutdown(socket.SHUT_RD)
        except OSError:
            return  # closed by the peer meanwhile: that wakes the thread as well


def _after(buffers: Sequence[Buffer], sent: int) -> Sequence[Buffer]:
    """What is left of `buffers` when the first `sent` bytes are gone."""
    for number, buffer in enumerate(buffers):
        if sent < len(buffer):
            return [memoryview(buffer)[sent:], *buffers[number + 1 :]]
        sent -= len(buffer)
    return []


def _timeval(seconds: float) -> bytes:
    whole, fraction = divmod(max(seconds, _LEAST_TIMEOUT), 1)
    return _TIMEVAL.pack(int(whole), int(fraction * 1_000_000))
