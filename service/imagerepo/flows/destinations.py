"""Where instances can be sent to by name, whatever protocol is spoken there."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from imagerepo.errors import ForbiddenError, NotFoundError
from imagerepo.flows.nodes import Nodes
from imagerepo.model.caller import Protocol
from imagerepo.model.peer import Peer
from imagerepo.model.web_peer import WebPeer, web_peer_of
from imagerepo.ports.peers import Kind, Peers, Sending
from imagerepo.ports.web_peers import WebPeers
from imagerepo.settings import Settings

_GONE: Final = "there is no destination {!r} any more (settings nodes, forwarding.stow); add it, or drop its tasks"


@dataclass(frozen=True, slots=True)
class Ways:
    """How destinations are reached."""

    peers: Peers
    web: WebPeers


class Destinations:
    """Finds destinations. `replace` exchanges them at once."""

    def __init__(self, settings: Settings, nodes: Nodes, ways: Ways) -> None:
        self._nodes = nodes
        self._ways = ways
        self._web = _web_peers(settings)

    def replace(self, settings: Settings) -> None:
        """Use other settings' servers from now on; nodes are replaced by themselves."""
        self._web = _web_peers(settings)

    def serves(self, name: str, institution: str) -> bool:
        """Whether instances of `institution` may be sent there; as far as is known, where it is gone."""
        try:
            return self._find(name).serves(institution)
        except NotFoundError:
            return True

    def place(self, name: str) -> tuple[str, Protocol]:
        """Host and protocol, for the journal. Raises NotFoundError."""
        found = self._find(name)
        if isinstance(found, Peer):
            return found.host, Protocol.DIMSE
        return urlsplit(found.url).hostname or "", Protocol.HTTP

    def width(self, name: str) -> int:
        """How many ways may be open to it at the same time; 1 where there is none of that name."""
        try:
            found = self._find(name)
        except NotFoundError:
            return 1
        return found.associations if isinstance(found, Peer) else found.connections

    def sending(self, name: str, institution: str, kinds: Collection[Kind]) -> Sending:
        """Open a way there.

        Raises:
            NotFoundError: there is no such destination.
            ForbiddenError: that institution's instances may not be sent there.
            PeerError: as ports.peers.Peers.sending.
        """
        found = self._find(name)
        if not found.serves(institution):
            raise ForbiddenError(
                f"instances of {institution} may not be sent to {name} (setting institutions of the destination)"
            )
        if isinstance(found, WebPeer):
            return self._ways.web.sending(found)
        calling = found.calling_ae_title or self._nodes.calling(institution)
        return self._ways.peers.sending(found, calling, kinds)

    def _find(self, name: str) -> Peer | WebPeer:
        web = self._web.get(name)
        if web is not None:
            return web
        for peer in self._nodes.all():
            if peer.name == name:
                return peer
        raise NotFoundError(_GONE.format(name))


def _web_peers(settings: Settings) -> dict[str, WebPeer]:
    return {target.name: web_peer_of(target) for target in settings.forwarding.stow}
