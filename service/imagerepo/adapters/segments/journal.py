"""The journal of a data folder (ports.journal), read from its segments."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.segments import anchor, replay
from imagerepo.adapters.segments import verify as chains
from imagerepo.errors import DamagedError, SettingsError
from imagerepo.ports.journal import Verified


@dataclass(frozen=True, slots=True)
class Anchor:
    """Where signed roots are put, and the key that signs them or its public half."""

    folder: Path
    key: Path


class SegmentJournal:
    """Reads and verifies; a server may be running on the folder."""

    def __init__(self, data: Path, anchored: Anchor | None) -> None:
        self._data = data
        self._anchor = anchored

    def entries(self) -> Iterator[str]:
        """Lines in order of commit."""
        for commit in replay.counted(self._data):
            for line in commit.journal:
                yield line.decode()

    def verify(self, *, with_bytes: bool) -> Verified:
        """Verify chains, signed roots and, if `with_bytes`, instances. Raises DamagedError, SettingsError."""
        wanted = None
        if self._anchor is not None:
            wanted = frozenset(anchor.read(self._anchor.folder, anchor.read_public_key(self._anchor.key)))
        report = chains.verify(self._data, wanted or frozenset(), with_bytes=with_bytes)
        missing = sorted((wanted or frozenset()) - report.roots, key=lambda root: (root[1].sequence, str(root[0])))
        if missing:
            chain, link = missing[0]
            report.damage.append(
                f"chain {chain}: entry {link.sequence} is not the one that was signed: "
                "the chain was cut off or written anew"
            )
        elif report.damage:
            report.damage.append("nothing else is broken")
        if report.damage:
            raise DamagedError("; ".join(report.damage))
        return Verified(report.entries, len(report.chains), None if wanted is None else len(wanted))

    def verify_copy(self) -> Verified:
        """There is none. Raises SettingsError."""
        raise SettingsError(f"data: {self._data} is its own journal; a cluster has a ledger beside it")


class SignedRoots:
    """Signs where the chains stand."""

    def __init__(self, data: Path, anchored: Anchor) -> None:
        """Read the key. Raises SettingsError if it cannot be read, or the folder cannot be written."""
        self._data = data
        self._folder = anchored.folder
        self._key = anchor.read_key(anchored.key)
        if not os.access(self._folder, os.W_OK):
            raise SettingsError(f"audit.anchor: {self._folder} is not a folder that can be written")

    def sign(self) -> None:
        """Append roots. Raises OSError, DamagedError."""
        anchor.write(self._folder, self._key, chains.index_heads(self._data))
