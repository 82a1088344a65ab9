"""DICOMweb servers, as we send to them."""

from dataclasses import dataclass
from pathlib import Path

from imagerepo.settings_work import StowTarget


@dataclass(frozen=True, slots=True)
class WebPeer:
    """A DICOMweb server."""

    name: str
    url: str  # base URL, without slash at its end
    token_file: Path | None  # None: it asks for no token
    ca: Path | None  # certificates that its own is verified against; None: the system's
    institutions: frozenset[str]  # whose instances it may get; empty: everyone's
    connections: int  # to it at the same time
    timeout: float  # seconds without a byte either way

    def __str__(self) -> str:
        return f"{self.name} ({self.url})"

    def serves(self, institution: str) -> bool:
        """Whether instances of `institution` may be sent to it."""
        return not self.institutions or institution in self.institutions


def web_peer_of(target: StowTarget) -> WebPeer:
    """The server that a setting describes."""
    return WebPeer(
        name=target.name,
        url=target.url,
        token_file=target.token_file,
        ca=target.ca,
        institutions=frozenset(target.institutions),
        connections=target.connections,
        timeout=target.timeout,
    )
