"""Who asks: resolved once at the edge, then carried through every flow."""

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a caller may do in its institution."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"  # implies the others


class Protocol(StrEnum):
    """The way a caller came in."""

    HTTP = "http"
    DIMSE = "dimse"
    CLI = "cli"


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller of one institution."""

    institution: str
    name: str  # "ae:CT1", "token:viewer", "anonymous"
    address: str  # the sender's, without port; behind a trusted balancer the one it names
    protocol: Protocol
    roles: frozenset[Role]

    def may(self, role: Role) -> bool:
        """Whether this caller holds `role`, itself or through admin."""
        return role in self.roles or Role.ADMIN in self.roles
