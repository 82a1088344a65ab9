"""Settings of deferred work: forwarding what arrives, storage commitment, trying again."""

from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from imagerepo.settings_fields import DAY, AeTitle, Float, InstitutionId, Int, PublicUrl, Section, Timeout
from imagerepo.settings_nodes import Node, NodeName

_Pattern = Annotated[str, Field(min_length=1, max_length=64)]
_Tag = Annotated[str, Field(pattern=r"^[0-9A-F]{8}$")]


class TagMatch(Section):
    """What an attribute of an instance has to be."""

    tag: _Tag
    """Eight hexadecimal digits, such as "00081010"; an attribute outside of sequences."""
    value: _Pattern
    """What one of its values has to be, regardless of case; `*` stands for any text, `?` for one character."""


class Rule(Section):
    """What is sent on, and where to; all that is set has to hold."""

    name: NodeName
    """What it is called in logs."""
    to: NodeName
    """Name of a node, or of one of `forwarding.stow`."""
    institutions: tuple[InstitutionId, ...] = ()
    """Whose instances; empty: everyone's that may be sent there."""
    senders: tuple[_Pattern, ...] = ()
    """AE titles that they came from, `*` and `?` as above; empty: any, and what came by HTTP too."""
    modalities: tuple[_Pattern, ...] = ()
    """Their modalities, `*` and `?` as above; empty: any."""
    tags: tuple[TagMatch, ...] = ()
    """What further attributes have to be; each costs a look at the header."""


class StowTarget(Section):
    """A DICOMweb server that instances are sent to."""

    name: NodeName
    """What it is called in rules and logs; no node has that name."""
    url: PublicUrl
    """Its base URL, to which `/studies` is added."""
    token_file: Path | None = None
    """File with the bearer token that it asks for."""
    ca: Path | None = None
    """File with the certificates (PEM) that its own is verified against; none: those of the system."""
    institutions: tuple[InstitutionId, ...] = ()
    """Whose instances may be sent to it; empty: everyone's."""
    connections: Annotated[Int, Field(ge=1, le=64)] = 1
    """Connections to it at the same time."""
    timeout: Timeout = 60.0
    """Seconds without a byte from it, or without it taking one, until it counts as dead."""


class Forwarding(Section):
    """Sending on what arrives."""

    rules: tuple[Rule, ...] = ()
    """What is sent where; an instance is sent once to each destination that a rule names."""
    stow: tuple[StowTarget, ...] = ()
    """DICOMweb servers that rules may name."""


class Commitment(Section):
    """Storage Commitment."""

    checks: Literal["bytes", "presence"] = "bytes"
    """What is committed to: that the bytes were read back and have their checksum, or that they are there."""
    same_association: tuple[AeTitle, ...] = ()
    """AE titles that are told on the association that they have opened, though they are nodes and could be called."""


class Retry(Section):
    """Trying again what failed, of deferred work."""

    first: Annotated[Float, Field(ge=0.01, le=DAY)] = 5.0
    """Seconds until the second attempt; the time doubles with each further one."""
    longest: Annotated[Float, Field(ge=0.01, le=30 * DAY)] = 900.0
    """Seconds between two attempts at the most."""
    attempts: Annotated[Int, Field(ge=1, le=1000)] = 10
    """Attempts at a task that its destination refuses, until a person has to look; what is merely unreachable is
    tried for ever."""


def conflict(forwarding: Forwarding, nodes: tuple[Node, ...], tenants: frozenset[str]) -> str | None:
    """What makes rules ambiguous, or names what is not there; None: nothing does."""
    return next(_conflicts(forwarding, nodes, tenants), None)


def _conflicts(forwarding: Forwarding, nodes: tuple[Node, ...], tenants: frozenset[str]) -> Iterator[str]:
    known = [one.name for one in (*nodes, *forwarding.stow)]
    for one, other in combinations(forwarding.rules, 2):
        if one.name == other.name:
            yield f"forwarding.rules: the name {one.name!r} may stand once"
    for target in forwarding.stow:
        if known.count(target.name) > 1:
            yield f"forwarding.stow: the name {target.name!r} may stand once, over nodes too"
    for rule in forwarding.rules:
        if rule.to not in known:
            yield f"forwarding.rules[{rule.name}].to: there is no node and none of forwarding.stow named {rule.to!r}"
    for part, entries in (("rules", forwarding.rules), ("stow", forwarding.stow)):
        for entry in entries:
            for unknown in sorted(set(entry.institutions) - tenants):
                yield f"forwarding.{part}[{entry.name}].institutions: there is no institution {unknown!r}"
