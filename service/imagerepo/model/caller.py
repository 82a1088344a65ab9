"""Who asks: resolved once at the edge, then carried through every flow."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

USER: Final = "user:"
"""What the name of a caller begins with that has shown a passcode."""


class Role(StrEnum):
    """What a caller may do in its institution."""

    READ = "read"
    WRITE = "write"
    DELETE = "delete"
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
    name: str  # "ae:CT1", "certificate:ct-1", "user:anna", "token:viewer", "anonymous"
    address: str  # the sender's, without port; behind a trusted balancer the one it names
    protocol: Protocol
    roles: frozenset[Role]

    def may(self, role: Role) -> bool:
        """Whether this caller holds `role`, itself or through admin."""
        return role in self.roles or Role.ADMIN in self.roles
