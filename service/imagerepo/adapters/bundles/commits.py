"""The commits of a replica (ports.commits.Commits): objects first, then the rows that name them.

1. What is stored already is answered (placing.py).
2. The bytes of the rest are put, those of a series that wait at the same time in one object (loading.py).
3. One transaction names all that was put meanwhile (transaction.py), then it is answered.

A crash between 2 and 3 leaves objects that no row names; there is no row without bytes. Where the connection is lost
during COMMIT, nothing is answered before it is known what became of it.
"""

import time
from collections.abc import Sequence
from typing import Final

from imagerepo.adapters.bundles import together
from imagerepo.adapters.bundles.changing import Changing
from imagerepo.adapters.bundles.committing import Committing
from imagerepo.adapters.bundles.item import PATIENCE, Item, made_of
from imagerepo.adapters.bundles.journaling import Writer
from imagerepo.adapters.bundles.known import Institutions
from imagerepo.adapters.bundles.placing import Placing
from imagerepo.adapters.bundles.pump import MOST, MOST_BYTES, Pump
from imagerepo.adapters.bundles.spool import Scratch, SpoolFile
from imagerepo.adapters.bundles.transaction import Transactor
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.database import Database
from imagerepo.errors import UnavailableError
from imagerepo.model.events import CommitKind, Committed, Request, StoreRequest

_UNANSWERED: Final = Committed(CommitKind.FAILED, error=UnavailableError("the commit failed; try again"))


class BundleCommits:
    """One writer's commits. Safe to call from any number of threads."""

    def __init__(self, database: Database, store: S3Store, scratch: Scratch, writer: str) -> None:
        """Assemble.

        Args:
            database: of the cluster; its schema is this program's.
            store: of the cluster.
            scratch: where large instances wait for their last byte.
            writer: names the writer's chains; nobody else in the cluster has it at the same time.
        """
        self._scratch = scratch
        institutions = Institutions(database)
        who = Writer(writer)
        self._placing = Placing(database, store, institutions, self._commit)
        committing = Committing(
            Transactor(database, institutions, who),
            Changing(database, institutions, store.read, who),
            self._placing,
            self._place,
            self._commit,
        )
        self._arriving = Pump("placing", self._placing.place)
        self._committing = Pump("committing", committing.carry)

    def spool(self) -> SpoolFile:
        """Open a file for a large instance. Raises UnavailableError."""
        return SpoolFile(self._scratch)

    def accepts(self) -> bool:
        """Whether there is room in the store. Scratch space without any refuses large instances alone (spool.py)."""
        return not self._placing.is_full

    def commit(self, requests: Sequence[Request]) -> Sequence[Committed]:
        """Commit, in order; blocks."""
        if not requests:
            return []
        items = made_of(requests, time.monotonic() + PATIENCE)
        for lot in _lots([item for item in items if isinstance(item.request, StoreRequest)]):
            together.keep(lot)
            self._place(lot)
        for lot in _lots([item for item in items if not isinstance(item.request, StoreRequest)]):
            self._commit(lot)
        items[0].call.done.wait()
        return [item.result or _UNANSWERED for item in items]

    def tend(self) -> None:
        """Nothing is ever left to be finished later."""

    def close(self) -> None:
        """Let go of everything; nothing may be under way."""
        self._arriving.close()
        self._placing.close()
        self._committing.close()

    def _place(self, items: Sequence[Item]) -> None:
        self._arriving.put(items)

    def _commit(self, items: Sequence[Item]) -> None:
        self._committing.put(items)


def _lots(items: Sequence[Item]) -> list[list[Item]]:
    """What goes together, none too many."""
    lots: list[list[Item]] = []
    size = 0
    for item in items:
        if not lots or len(lots[-1]) >= MOST or size + item.size > MOST_BYTES:
            lots.append([])
            size = 0
        lots[-1].append(item)
        size += item.size
    return lots
