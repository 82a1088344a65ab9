"""Connecting to a peer: TCP, and TLS where it is configured."""

import socket
from dataclasses import dataclass
from typing import Final

from imagerepo.dimse.client import failures
from imagerepo.dimse.tls import HandshakeError, TlsTransport
from imagerepo.dimse.transport import PlainTransport, SilenceError, Transport, TransportClosedError
from imagerepo.model.peer import Peer
from imagerepo.tls.client import client_context

_LAST_WORD: Final = 0.5  # seconds for a peer to take an abort; one that takes nothing has cost its time already


@dataclass(frozen=True, slots=True)
class Dialled:
    """A connection, and how bytes go over it."""

    socket: socket.socket
    transport: Transport

    def hurry(self) -> None:
        """What is sent from now on is a last word: it is not waited for as an answer is."""
        self.transport.limit_sending(_LAST_WORD)

    def close(self) -> None:
        """End the connection, over TLS with its goodbye."""
        if isinstance(self.transport, TlsTransport):
            self.transport.close()
        self.socket.close()


def connect(peer: Peer) -> Dialled:
    """Connect to a peer.

    Raises:
        PeerError: it is unreachable, or TLS came to no agreement.
        SettingsError: a file that TLS needs cannot be used.
    """
    try:
        connection = socket.create_connection((peer.host, peer.port), peer.connect_timeout)
    except OSError as error:
        raise failures.unreachable(peer, error) from error
    try:
        return Dialled(connection, _transport(peer, connection))
    except BaseException:
        connection.close()
        raise


def _transport(peer: Peer, connection: socket.socket) -> Transport:
    plain = PlainTransport(connection)
    if peer.tls is None:
        return plain
    transport = TlsTransport.client(plain, client_context(peer.tls), peer.tls.server_name)
    try:
        transport.handshake(peer.connect_timeout)
    except SilenceError as error:
        raise failures.silent(peer, "during the TLS handshake", peer.connect_timeout) from error
    except HandshakeError as error:
        raise failures.tls(peer, str(error)) from error
    except TransportClosedError as error:
        raise failures.lost(peer, "during the TLS handshake", f"{error}; does it speak TLS there?") from error
    return transport
