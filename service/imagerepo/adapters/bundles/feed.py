"""Follow what was committed by reading the journal (ports.feed.Feed).

Commits are followed in the order of their transactions, only as far as no transaction is under way that began earlier:
none can become visible behind who follows, whoever wrote it.
"""

import logging
from typing import Final

from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.segments.arrivals import arrived
from imagerepo.errors import DamagedError
from imagerepo.ports.feed import Arrived, Mark, Marks, Page

log = logging.getLogger(__name__)

_PAGE: Final = 500  # versions after which a page ends
_ROWS: Final = 64  # of the journal, read at a time
_ALL: Final = "all"  # the one key of the marks: there is one order over all writers
_NOW: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"
# In the order of the table's xid, a number: by its bare name it would be that of the text which is selected.
_SINCE: Final = (
    "SELECT j.xid::text, j.institution, j.commit_number, j.lines FROM journal j "
    "WHERE (j.xid, j.institution, j.commit_number) > (%s::xid8, %s, %s) "
    "AND j.xid < pg_snapshot_xmin(pg_current_snapshot()) AND j.stored > 0 "
    "ORDER BY j.xid, j.institution, j.commit_number LIMIT %s"
)


class BundleFeed:
    """Reads the journal of all replicas. A mark names a transaction and an institution, and its commit's number."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self) -> Marks:
        """Behind all that is visible now."""
        with self._database.reading() as connection:
            (first,) = connection.run(_NOW).fetchone() or ("0",)
        # What is before the first transaction that is under way, or will be, is visible.
        return {_ALL: Mark(f"{first}/", 0)}

    def since(self, marks: Marks) -> Page:
        """What became visible after `marks`."""
        mark = marks.get(_ALL, Mark("0/", 0))
        found: list[Arrived] = []
        while len(found) < _PAGE:
            xid, _, institution = mark.segment.partition("/")
            with self._database.reading() as connection:
                rows = connection.run(_SINCE, (xid, institution, mark.position, _ROWS)).fetchall()
            for one, whose, commit, body in rows:
                found.extend(_arrived(bytes(body), commit, f"commit {commit} of {whose}"))
                mark = Mark(f"{one}/{whose}", commit)
            if len(rows) < _ROWS:
                return Page(found, {_ALL: mark}, more=False)
        return Page(found, {_ALL: mark}, more=True)


def _arrived(body: bytes, commit: int, place: str) -> list[Arrived]:
    try:
        return list(arrived(body.split(b"\n"), commit, place))
    except DamagedError as error:
        log.error("feed.commit_damaged", extra={"reason": str(error)})  # noqa: TRY400 - the reason names the place
        return []
