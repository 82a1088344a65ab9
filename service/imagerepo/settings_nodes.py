"""Settings of nodes: other application entities that we open associations to."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from imagerepo.settings_fields import KIB, MIB, AeTitle, InstitutionId, Int, Section, Timeout

NodeName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$")]
Host = Annotated[str, Field(pattern=r"^[0-9A-Za-z]([0-9A-Za-z.-]*[0-9A-Za-z.])?$|^[0-9A-Fa-f:.]+$")]


class NodeTls(Section):
    """How a node is spoken to over TLS."""

    ca: Path | None = None
    """File with the certificates (PEM) that the node's is verified against; none: those of the system."""
    certificate: Path | None = None
    """File with the certificate (PEM) that we show, with those that lead to a root."""
    key: Path | None = None
    """File with its private key (PEM)."""
    server_name: Host | None = None
    """The name that the node's certificate has to hold; none: `host`."""

    @model_validator(mode="after")
    def _pair(self) -> "NodeTls":
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together; set both or none")
        return self


class Node(Section):
    """Another application entity."""

    name: NodeName
    """What it is called in commands, rules and logs."""
    ae_title: AeTitle
    """Its AE title; a C-MOVE names its destination by it."""
    host: Host
    """Host name or address."""
    port: Annotated[Int, Field(ge=1, le=65_535)] = 104
    """TCP port."""
    calling_ae_title: AeTitle | None = None
    """The AE title by which we call it; none: the institution's first, or `ae_title`."""
    institutions: tuple[InstitutionId, ...] = ()
    """Whose instances may be sent to it; empty: everyone's."""
    associations: Annotated[Int, Field(ge=1, le=64)] = 1
    """Associations that one transfer may have open to it at the same time."""
    max_pdu: Annotated[Int, Field(ge=4 * KIB, le=4 * MIB)] = 256 * KIB
    """Largest PDU that it may send us and that is sent to it, in bytes; it may ask for less."""
    connect_timeout: Timeout = 10.0
    """Seconds for it to take the connection and to answer the association request."""
    response_timeout: Timeout = 60.0
    """Seconds without a byte from it, or without it taking one, until it counts as dead."""
    tls: NodeTls | None = None
    """How it is spoken to over TLS; none: in the clear."""


def conflict(nodes: tuple[Node, ...], tenants: frozenset[str]) -> str | None:
    """What makes nodes ambiguous, or names an institution that is none; None: nothing does."""
    return next(_conflicts(nodes, tenants), None)


def _conflicts(nodes: tuple[Node, ...], tenants: frozenset[str]) -> Iterator[str]:
    for node in nodes:
        for unknown in sorted(set(node.institutions) - tenants):
            yield f"nodes[{node.name}].institutions: there is no institution {unknown!r}"
    for one, other in combinations(nodes, 2):
        if one.name == other.name:
            yield f"nodes: the name {one.name!r} may stand once"
        if one.ae_title == other.ae_title and _share(one, other):
            yield (
                f"nodes: {one.name!r} and {other.name!r} have the AE title {one.ae_title!r}, which a C-MOVE names its "
                "destination by; give one of them another, or other institutions"
            )


def _share(one: Node, other: Node) -> bool:
    return not one.institutions or not other.institutions or bool(set(one.institutions) & set(other.institutions))
