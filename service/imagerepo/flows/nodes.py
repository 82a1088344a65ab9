"""Other application entities: who is known by which name, and to whom an institution's instances may go."""

from typing import Final

from imagerepo.errors import NotFoundError
from imagerepo.model.peer import Peer, peer_of
from imagerepo.settings import Settings

_KNOWN_NONE: Final = "none are configured"
_SHOWN: Final = 10  # names in a sentence


class Nodes:
    """Finds peers. `replace` exchanges them at once, for requests to come."""

    def __init__(self, settings: Settings) -> None:
        self._book = _Book(settings)

    def replace(self, settings: Settings) -> None:
        """Use other settings' nodes and AE titles from now on."""
        self._book = _Book(settings)

    def all(self) -> tuple[Peer, ...]:
        """All of them, in the order of the settings."""
        return tuple(self._book.by_name.values())

    def named(self, name: str) -> Peer:
        """The peer of that name. Raises NotFoundError."""
        by_name = self._book.by_name
        peer = by_name.get(name)
        if peer is None:
            known = ", ".join(list(by_name)[:_SHOWN]) or _KNOWN_NONE
            raise NotFoundError(f"there is no node {name[:64]!r} (setting nodes; known: {known})")
        return peer

    def destination(self, ae_title: str, institution: str) -> Peer:
        """Where a C-MOVE of an institution goes that names its destination by AE title.

        Raises:
            NotFoundError: there is none, or none for this institution.
        """
        for peer in self._book.by_name.values():
            if peer.ae_title == ae_title and peer.serves(institution):
                return peer
        raise NotFoundError(f"no node of {institution} has the AE title {ae_title[:16]!r} (setting nodes)")

    def calling(self, institution: str) -> str:
        """The AE title by which that institution calls others, unless a node says otherwise."""
        return self._book.calling.get(institution, self._book.ae_title)


class _Book:
    """One state of the nodes, never changed."""

    def __init__(self, settings: Settings) -> None:
        self.ae_title = settings.ae_title
        self.by_name = {node.name: peer_of(node) for node in settings.nodes}
        self.calling = {one.id: one.called_ae_titles[0] for one in settings.tenants if one.called_ae_titles}
