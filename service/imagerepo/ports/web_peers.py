"""DICOMweb servers: sending stored instances to them."""

from typing import Protocol

from imagerepo.model.web_peer import WebPeer
from imagerepo.ports.peers import Sending


class WebPeers(Protocol):
    """Opens ways to DICOMweb servers. Safe to call from any number of threads."""

    def sending(self, peer: WebPeer) -> Sending:
        """Open a way to `peer`.

        Raises:
            PeerError: it is unreachable, or TLS fails.
        """
        ...
