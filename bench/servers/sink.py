"""Answer C-STORE as fast as a plain loop can and keep nothing.

Run as a script: port. A process an association. What a client reaches against it, it could reach
against any server that is quicker than the servers under test.
"""

import os
import socket
import struct
import sys

BUFFER = 4 << 20  # bytes
ASSOCIATE_RQ, P_DATA, RELEASE_RQ = 0x01, 0x04, 0x05
MAX_PDU = 131_072
EXPLICIT = b"1.2.840.10008.1.2.1"
LAST_FRAGMENT_OF_DATA_SET = 0x02


def main(port: int) -> None:
    """Serve until the process is ended; ended children stay unreaped, so that their CPU can still be read."""
    listener = socket.create_server(("127.0.0.1", port), backlog=16)
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _serve(connection)
            os._exit(0)
        connection.close()


def _serve(connection: socket.socket) -> None:
    buffer = memoryview(bytearray(BUFFER))
    filled, message = 0, b""
    while received := connection.recv_into(buffer[filled:]):
        filled += received
        position = 0
        while filled - position >= 6:
            kind, length = struct.unpack_from(">BxI", buffer, position)
            if filled - position < 6 + length:
                break
            body = buffer[position + 6 : position + 6 + length]
            if kind == ASSOCIATE_RQ:
                connection.sendall(_accept(bytes(body)))
            elif kind == RELEASE_RQ:
                connection.sendall(bytes.fromhex("06 00 00 00 00 04 00 00 00 00"))
                return
            elif kind == P_DATA and body[5] & 0x01:
                message = bytes(body[6:])
            elif kind == P_DATA and body[5] == LAST_FRAGMENT_OF_DATA_SET:
                connection.sendall(_response(body[4], message))
            position += 6 + length
        buffer[: filled - position] = buffer[position:filled]
        filled -= position


def _accept(request: bytes) -> bytes:
    """Return an A-ASSOCIATE-AC for every context with the corpus's transfer syntax (PS3.8 section 9.3.3)."""
    contexts = b""
    for kind, value in _items(request[68:]):
        if kind == 0x20:
            offered = EXPLICIT in (syntax for item, syntax in _items(value[4:]) if item == 0x40)
            syntax = struct.pack(">BxH", 0x40, len(EXPLICIT)) + EXPLICIT
            contexts += struct.pack(">BxHBxBx", 0x21, 4 + len(syntax), value[0], 0 if offered else 4) + syntax
    user = struct.pack(">BxHBxHI", 0x50, 8, 0x51, 4, MAX_PDU)
    application = request[68 : 68 + 4 + struct.unpack_from(">H", request, 70)[0]]
    body = request[:68] + application + contexts + user
    return struct.pack(">BxI", 0x02, len(body)) + body


def _items(data: bytes) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    position = 0
    while position + 4 <= len(data):
        kind, length = struct.unpack_from(">BxH", data, position)
        found.append((kind, data[position + 4 : position + 4 + length]))
        position += 4 + length
    return found


def _response(context: int, request: bytes) -> bytes:
    """Return a C-STORE-RSP with status success (PS3.7 section 9.3.1.2)."""
    position, identifier = 0, b"\0\0"
    while position + 8 <= len(request):
        _group, element, size = struct.unpack_from("<HHI", request, position)
        if element == 0x0110:
            identifier = request[position + 8 : position + 10]
        position += 8 + size
    command = b"".join(
        struct.pack("<HHI", 0, element, 2) + value
        for element, value in (
            (0x0100, b"\x01\x80"),
            (0x0120, identifier),
            (0x0800, b"\x01\x01"),
            (0x0900, b"\0\0"),
        )
    )
    command = struct.pack("<HHII", 0, 0, 4, len(command)) + command
    return struct.pack(">BxIIBB", P_DATA, len(command) + 6, len(command) + 2, context, 0x03) + command


if __name__ == "__main__":
    main(int(sys.argv[1]))
