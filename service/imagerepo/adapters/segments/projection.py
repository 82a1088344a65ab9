"""How far the index has come: which part of each segment its rows hold, and where each chain stands.

Written in the transaction that writes the rows, so that neither can be ahead of the other.
"""

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass

from imagerepo.adapters.segments.format import parse_segment_name
from imagerepo.adapters.segments.lines import Link


def links(connection: sqlite3.Connection, writer: str) -> dict[str, Link]:
    """Where a writer's chains stand, by institution."""
    rows = connection.execute("SELECT institution, sequence, digest FROM chain WHERE writer = ?", (writer,))
    return {institution: Link(sequence, digest) for institution, sequence, digest in rows}


def last_segment(connection: sqlite3.Connection, writer: str) -> int:
    """The number of a writer's last segment that is in the index; 0 if none."""
    named = map(parse_segment_name, applied(connection))
    return max((number for owner, number in named if owner == writer), default=0)


def applied(connection: sqlite3.Connection) -> dict[str, int]:
    """By segment's file name, the position up to which it is in the index."""
    return dict(connection.execute("SELECT name, applied FROM segment").fetchall())


@dataclass(frozen=True, slots=True)
class Position:
    """The end of a commit."""

    segment: str  # file name
    offset: int  # bytes, after it
    commit: int  # its number


def last_commit(connection: sqlite3.Connection) -> int:
    """The highest commit number in the index; 0 if none."""
    (last,) = connection.execute("SELECT coalesce(max(last_commit), 0) FROM segment").fetchone()
    return last


def mark_applied(connection: sqlite3.Connection, position: Position, writer: str, heads: Mapping[str, Link]) -> None:
    """Note that a segment is in the index up to `position`, and where its writer's chains stand then."""
    connection.execute(
        "INSERT INTO segment (name, applied, last_commit) VALUES (?, ?, ?) ON CONFLICT (name) "
        "DO UPDATE SET applied = max(applied, excluded.applied), last_commit = max(last_commit, excluded.last_commit)",
        (position.segment, position.offset, position.commit),
    )
    connection.executemany(
        "INSERT INTO chain (institution, writer, sequence, digest) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (institution, writer) DO UPDATE SET sequence = excluded.sequence, digest = excluded.digest "
        "WHERE excluded.sequence > chain.sequence",
        [(institution, writer, link.sequence, link.digest) for institution, link in heads.items()],
    )
