"""Journal lines of a commit as rows, and where the chains stand behind them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from blake3 import blake3

from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles.decisions import Entries
from imagerepo.adapters.postgres.connecting import Connection

SLOTS: Final = 64  # in which an institution's holdings are counted, so that writers seldom wait for each other


@dataclass(frozen=True, slots=True)
class Writer:
    """Who commits: the chains are his."""

    name: str  # of the cluster's writers he alone has it; who has it after him goes on with the chains

    @property
    def slot(self) -> int:
        """Which of an institution's holdings he counts in."""
        return blake3(self.name.encode()).digest(1)[0] % SLOTS


def write(connection: Connection, writer: Writer, commit: int, journal: Mapping[str, Entries]) -> None:
    """Write the lines of a commit, by institution."""
    for institution, entries in sorted(journal.items()):
        first = entries.link.sequence - len(entries.lines) + 1
        counts = (first, len(entries.lines), entries.stored)
        said = (commit, institution, writer.name, *counts, b"\n".join(entries.lines))
        connection.run(sql.ADD_JOURNAL, (*said, institution, writer.name, entries.link.sequence, entries.link.digest))
