"""A C-STORE sender that is never the bottleneck.

Everything is encoded before the time runs. Each instance leaves in one `sendall` of P-DATA PDUs as
large as the peer accepts, over a blocking socket without Nagle's algorithm; the next one leaves when
the response to it is here and says success.
"""

import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.clients import fleet, upper_layer
from bench.generate import Instance

SOCKET_TIMEOUT = 120  # seconds


@dataclass(frozen=True, slots=True)
class _Part:
    port: int
    called: str
    instances: Sequence[Instance]


def send(port: int, called: str, instances: Sequence[Instance], associations: int) -> fleet.Run:
    """Store `instances` over so many associations at once, each a process and an equal, contiguous share."""
    share = -(-len(instances) // associations)
    shares = [instances[start : start + share] for start in range(0, len(instances), share)]
    return fleet.run(_prepare, [_Part(port, called, part) for part in shares])


class Association:
    """One association on loopback, opened by its construction."""

    def __init__(self, port: int, called: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=SOCKET_TIMEOUT)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pending = b""
        self._socket.sendall(upper_layer.associate_request(called, "BENCH"))
        self.max_pdu = upper_layer.accepted_max_pdu(self._receive(upper_layer.ASSOCIATE_AC))

    def store(self, encoded: bytes, message_id: int) -> None:
        """Send one encoded request and wait for its response.

        Raises:
            ProtocolError: the status is not success, or the answer is another message's.
        """
        self._socket.sendall(encoded)
        answered, status = upper_layer.response_status(self._receive(upper_layer.P_DATA))
        if (answered, status) != (message_id, 0):
            raise upper_layer.ProtocolError(
                f"C-STORE {message_id} was answered with status {status:#06x} for message {answered}"
            )

    def release(self) -> None:
        """End the association in order (PS3.8 section 7.2)."""
        self._socket.sendall(upper_layer.RELEASE_REQUEST)
        self._receive(upper_layer.RELEASE_RP)
        self._socket.close()

    def _receive(self, expected: int) -> bytes:
        data = self._pending
        while len(data) < 6 or len(data) < 6 + struct.unpack_from(">I", data, 2)[0]:
            piece = self._socket.recv(upper_layer.OUR_MAX_PDU)
            if not piece:
                raise upper_layer.ProtocolError("the peer closed the connection")
            data += piece
        end = 6 + struct.unpack_from(">I", data, 2)[0]
        self._pending = data[end:]
        if data[0] != expected:
            raise upper_layer.ProtocolError(f"expected PDU type {expected:#04x}, received {data[:end].hex()}")
        return data[6:end]


def _prepare(part: _Part) -> Callable[[], list[float]]:
    association = Association(part.port, part.called)
    encoded = [
        upper_layer.store_request(number, instance.uid, instance.data_set(), association.max_pdu)
        for number, instance in enumerate(part.instances, start=1)
    ]

    def work() -> list[float]:
        latencies: list[float] = []
        for number, request in enumerate(encoded, start=1):
            start = time.perf_counter()
            association.store(request, number)
            latencies.append(time.perf_counter() - start)
        association.release()
        return latencies

    return work
