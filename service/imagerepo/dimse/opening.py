"""What comes on a connection before its first PDU: a trusted balancer's header, then TLS on a port of TLS.

Source: The PROXY protocol, section 2.2 (haproxy.org, proxy-protocol.txt); PS3.8 section 9.1; PS3.15 B.12.
"""

import logging
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from imagerepo import proxy_protocol, telemetry
from imagerepo.dimse.association import ARTIM
from imagerepo.dimse.origin import Origin
from imagerepo.dimse.pdu import Abort, AbortReason, AbortSource, PduReader, StoppedError
from imagerepo.dimse.tls import HandshakeError, TlsTransport
from imagerepo.dimse.transport import SilenceError, TransportClosedError
from imagerepo.errors import BadRequestError
from imagerepo.model.addresses import Networks, within
from imagerepo.model.certificate import Certificate
from imagerepo.settings import Settings, networks
from imagerepo.tls.faults import Fault
from imagerepo.tls.keyring import Keyring

log = logging.getLogger(__name__)

AGREED: Final = "agreed"
"""The metrics' label of a handshake that succeeded."""


@dataclass(frozen=True, slots=True)
class SecureListener:
    """A port on which TLS is spoken."""

    socket: socket.socket  # bound and listening; may be shared with other processes
    keyring: Keyring


@dataclass(frozen=True, slots=True)
class Opened:
    """A connection whose next byte is a PDU's first."""

    reader: PduReader
    address: str  # the sender's
    certificate: Certificate | None = None  # that the sender showed
    tls: TlsTransport | None = None  # to be closed in the end

    @property
    def origin(self) -> Origin:
        """Where it comes from."""
        return Origin(self.address, self.certificate, encrypted=self.tls is not None)

    def close(self) -> None:
        """Say goodbye; the socket stays open."""
        if self.tls is not None:
            self.tls.close()


class Opening:
    """What all connections of a server have in common before their first PDU."""

    def __init__(self, settings: Settings) -> None:
        self._proxies: Networks = networks(settings.trusted_proxies)
        self._idle_timeout = settings.dimse.idle_timeout
        self._handshake_timeout = settings.tls.handshake_timeout

    def plain(self, reader: PduReader, peer: str) -> Opened | None:
        """Open a connection in the clear; None: it is to be closed."""
        address = self._source_address(reader, peer)
        return None if address is None else Opened(reader, address)

    def secure(self, reader: PduReader, peer: str, keyring: Keyring) -> Opened | None:
        """Open a connection of TLS, of which `reader` reads what comes before; None: it is to be closed."""
        address = self._source_address(reader, peer)
        current = keyring.current
        if address is None:
            return None
        if current is None:
            _refused(address, Fault.UNREADY, "the server's own certificate cannot be used; see tls.not_loaded")
            return None
        tls = TlsTransport.server(reader.transport, current.dimse, reader.rest())
        try:
            tls.handshake(self._handshake_timeout)
            certificate = current.identify(tls.peer_certificate)
        except HandshakeError as error:
            _refused(address, error.fault, str(error))
            return None
        except SilenceError:
            _refused(address, Fault.SILENT, f"no handshake within {self._handshake_timeout:g} seconds")
            return None
        except TransportClosedError as error:
            _refused(address, Fault.LOST, str(error))
            return None
        telemetry.tls_handshakes.labels("dimse", AGREED).inc()
        return Opened(PduReader(tls, self._idle_timeout), address, certificate, tls)

    def _source_address(self, reader: PduReader, peer: str) -> str | None:
        """The sender's address: the peer's, or the one that a trusted balancer names; None: it does not."""
        if not within(peer, self._proxies):
            return peer
        reader.set_deadline(min(ARTIM, self._idle_timeout))
        try:
            while (header := proxy_protocol.parse(reader.peek())) is None:
                reader.more()
            reader.skip(header.length)
        except BadRequestError as error:
            log.warning("dimse.proxy.refused", extra={"address": peer, "reason": str(error)})
            with suppress(TransportClosedError, SilenceError):
                reader.send(Abort(AbortSource.SERVICE_PROVIDER, AbortReason.UNRECOGNIZED_PDU).encode())
            return None
        except (TransportClosedError, SilenceError, StoppedError):
            return None  # balancers open connections to see whether they can
        return header.source_address or peer


def _refused(address: str, fault: Fault, reason: str) -> None:
    telemetry.tls_handshakes.labels("dimse", fault).inc()
    log.warning("dimse.tls.refused", extra={"address": address, "fault": str(fault), "reason": reason})
