"""Commits of a data folder, gathered into what one transaction carries over."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from imagerepo.adapters.bundles.item import Item
from imagerepo.adapters.index_sql.holds import HoldEntry
from imagerepo.adapters.segments import lines, proof
from imagerepo.adapters.segments.lines import START, DeleteLine, Link, StoreLine
from imagerepo.adapters.segments.replay import Commit
from imagerepo.errors import DamagedError
from imagerepo.model.caller import Caller, Protocol

BYTES: Final = 32 << 20
"""Of the versions of a lot, after which it is full: two are in memory."""
_VERSIONS: Final = 1000  # likewise
_STUDIES: Final = 100  # likewise: the server has room for so many locks
_LINES: Final = 8000  # likewise

Chain: TypeAlias = tuple[str, str]
"""Institution, and a writer of the folder."""


@dataclass(slots=True)
class Lines:
    """Lines of one chain in one commit of the folder."""

    chain: Chain
    first: int  # number of the first of them in its chain
    lines: list[bytes] = field(default_factory=list[bytes])


@dataclass(slots=True)
class Carried:
    """What is carried of one commit."""

    lines: dict[str, Lines] = field(default_factory=dict[str, Lines])  # by institution
    stores: list[tuple[StoreLine, Caller]] = field(default_factory=list[tuple[StoreLine, Caller]])
    changes: list[DeleteLine | HoldEntry] = field(default_factory=list[DeleteLine | HoldEntry])  # in order
    versions: list[tuple[StoreLine, Item]] = field(default_factory=list[tuple[StoreLine, Item]])
    """Of what it has stored: what is to be there afterwards."""
    gone: list[StoreLine] = field(default_factory=list[StoreLine])  # and what is not


@dataclass(slots=True)
class Lot:
    """Commits that are carried in one transaction, in order."""

    begin: dict[Chain, Link] = field(default_factory=dict[Chain, Link])  # where their chains stood before
    end: dict[Chain, Link] = field(default_factory=dict[Chain, Link])  # and behind
    commits: list[Carried] = field(default_factory=list[Carried])
    studies: set[tuple[str, str]] = field(default_factory=set[tuple[str, str]])
    size: int = 0  # bytes of what its commits have stored
    count: int = 0  # versions, likewise
    entries: int = 0  # lines

    @property
    def is_full(self) -> bool:
        """Whether nothing more goes in."""
        much = self.size >= BYTES or self.count >= _VERSIONS
        return much or len(self.studies) >= _STUDIES or self.entries >= _LINES


def require_same(commits: Iterator[Commit], heads: Mapping[Chain, Link]) -> None:
    """Raise DamagedError if these are not the commits of which some were carried up to `heads`."""
    if not heads:
        return
    reached = dict[Chain, Link]()
    for commit in commits:
        for line in commit.journal:
            chain = lines.parse_line(line, commit.place)["institution"], commit.writer
            link = reached[chain] = lines.follow(reached.get(chain, START), line)
            _require_head(chain, link, heads.get(chain))
    for chain, head in heads.items():
        if reached.get(chain, START).sequence < head.sequence:
            raise DamagedError(
                f"chain {'/'.join(chain)} has less entries than were carried over, {head.sequence}: this folder is an "
                "older copy of the one that was moved"
            )


def _require_head(chain: Chain, link: Link, head: Link | None) -> None:
    if head is not None and head.sequence == link.sequence and head != link:
        raise DamagedError(
            f"entry {head.sequence} of chain {'/'.join(chain)} is not the one that was carried over: this folder and "
            "the one that was moved are copies of one, of which each went on for itself"
        )


def lots(commits: Iterator[Commit], heads: Mapping[Chain, Link], earlier: Callable[[int], None]) -> Iterator[Lot]:
    """What was not carried yet; lines are proved to follow each other.

    Args:
        commits: of the folder, in order.
        heads: where its chains end in the cluster.
        earlier: told of bytes of versions that were carried before.

    Raises:
        DamagedError: a line does not follow the one before.
    """
    reached = dict[Chain, Link]()
    lot = Lot()
    for commit in commits:
        carried = Carried()
        for line in commit.journal:
            said = lines.parse_line(line, commit.place)
            chain = said["institution"], commit.writer
            before = reached.get(chain, START)
            link = reached[chain] = proof.follow(before, line, said, "/".join(chain), commit.place)
            if link.sequence <= heads.get(chain, START).sequence:
                earlier(sum(one.size for one in lines.stores(said, commit.number)))
                continue
            lot.begin.setdefault(chain, before)
            lot.end[chain] = link
            carried.lines.setdefault(chain[0], Lines(chain, link.sequence)).lines.append(line)
            _take(lot, carried, said, commit.number)
        if carried.lines:
            lot.commits.append(carried)
        if lot.is_full:
            yield lot
            lot = Lot()
    if lot.commits:
        yield lot


def _take(lot: Lot, carried: Carried, said: dict[str, Any], commit: int) -> None:
    """Note what a line means."""
    lot.entries += 1
    for one in lines.stores(said, commit):
        who = Caller(one.institution, said["caller"], said["address"], Protocol(said["protocol"]), frozenset())
        carried.stores.append((one, who))
        lot.size += one.size
        lot.count += 1
        lot.studies.add((one.institution, one.study_uid))
    for one in (*lines.deletes(said, commit), *lines.holds(said, commit)):
        carried.changes.append(one)
        lot.studies.add((one.institution, one.study_uid))
