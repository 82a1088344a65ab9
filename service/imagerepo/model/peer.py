"""Other application entities, as we open associations to them."""

from dataclasses import dataclass
from pathlib import Path

from imagerepo.settings_nodes import Node


@dataclass(frozen=True, slots=True)
class PeerTls:
    """How a peer is spoken to over TLS."""

    ca: Path | None  # certificates that the peer's is verified against; None: the system's
    certificate: Path | None  # ours, with its chain; None: none is shown
    key: Path | None
    server_name: str  # that the peer's certificate has to hold


@dataclass(frozen=True, slots=True)
class Peer:
    """Another application entity."""

    name: str  # from the settings; else its AE title
    ae_title: str
    host: str
    port: int
    calling_ae_title: str | None = None  # by which we call it; None: our own
    institutions: frozenset[str] = frozenset()  # whose instances it may get; empty: everyone's
    associations: int = 1  # open to it at the same time for one transfer
    max_pdu: int = 256 * 1024  # bytes after the header, either way
    connect_timeout: float = 10.0  # seconds, for the connection and for the association
    response_timeout: float = 60.0  # seconds without a byte either way
    tls: PeerTls | None = None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.name} ({self.ae_title} at {host}:{self.port})"

    def serves(self, institution: str) -> bool:
        """Whether instances of `institution` may be sent to it."""
        return not self.institutions or institution in self.institutions


def peer_of(node: Node) -> Peer:
    """The peer that a setting describes."""
    tls = node.tls
    return Peer(
        name=node.name,
        ae_title=node.ae_title,
        host=node.host,
        port=node.port,
        calling_ae_title=node.calling_ae_title,
        institutions=frozenset(node.institutions),
        associations=node.associations,
        max_pdu=node.max_pdu,
        connect_timeout=node.connect_timeout,
        response_timeout=node.response_timeout,
        tls=None if tls is None else PeerTls(tls.ca, tls.certificate, tls.key, tls.server_name or node.host),
    )
