"""What is known of a connection over TLS before its first request.

The balancer's header comes in the clear, before the handshake: whoever accepts the connection has read it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imagerepo.model.certificate import Certificate

CERTIFICATE: Final = "imagerepo.certificate"
"""In a request's scope: the certificate that the client showed, where it showed one."""


@dataclass(frozen=True, slots=True)
class Secured:
    """A connection that TLS protects."""

    address: str  # the sender's
    identify: Callable[[bytes | None], Certificate | None]
    """What a certificate in DER proves."""
