"""Webhooks, as we tell them."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Webhook:
    """A server that is told what changes in an institution."""

    institution: str
    name: str  # among those of its institution
    url: str
    secret_file: Path
    ca: Path | None  # certificates that its own is verified against; None: the system's
    timeout: float  # seconds without a byte either way

    def __str__(self) -> str:
        return f"{self.queue} ({self.url})"

    @property
    def queue(self) -> str:
        """Of its tasks."""
        return f"{self.institution}/{self.name}"

    @property
    def follower(self) -> str:
        """By which it is kept how far it has been told."""
        return f"webhook {self.queue}"
