"""dimse.transport.PlainTransport: what the kernel says becomes what the association is told."""

import mmap
import socket
import tempfile

import pytest

from imagerepo.dimse.transport import PlainTransport
from imagerepo.errors import DamagedError


def test_what_was_lent_and_cannot_be_read_is_our_damage_and_not_the_peer_s() -> None:
    with tempfile.TemporaryFile() as file, socket.create_server(("127.0.0.1", 0)) as listening:
        file.write(bytes(1 << 20))
        file.flush()
        lent = memoryview(mmap.mmap(file.fileno(), 1 << 20, access=mmap.ACCESS_READ))
        file.truncate(0)  # a look at it would end the process now, as where a disk fails
        with socket.create_connection(listening.getsockname()) as connection, pytest.raises(DamagedError):
            PlainTransport(connection).send([b"header", lent])
