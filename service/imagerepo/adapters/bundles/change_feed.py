"""Follow what changed by reading the journal of all replicas (ports.feed.ChangeFeed).

Commits of an institution are told in the order of their transactions, only as far as no transaction is under way that
began earlier: none can become visible behind who follows, whoever wrote it. Whoever changes a study gets his place in
that order under the study's lock (transaction.py, changing.py), so that what becomes of a study is told in its order.

What a data folder brought along (carrying.py) is passed over: a deletion there says nothing of what came here by
another way, and what was stored there may have been here already.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from imagerepo.adapters.bundles.carrying import CARRIED
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.segments.changed import MOST_COMMITS, UNKNOWN, Gathered, changes
from imagerepo.errors import DamagedError, ForgottenError
from imagerepo.model.change import Change
from imagerepo.ports.feed import PASSED, ChangePage, Mark, Marks

log = logging.getLogger(__name__)

_ALL: Final = "all"  # the one key of the marks, but for PASSED: there is one order over all writers
_ROWS: Final = 16  # of the journal, read at a time: each may have thousands of lines
_VISIBLE: Final = "j.xid < pg_snapshot_xmin(pg_current_snapshot())"
# Carried rows come without their lines, not left out: there may be millions in a row, and marks have to get past them.
_SINCE: Final = (
    "SELECT j.xid::text, j.commit_number, j.writer, "
    f"CASE WHEN starts_with(j.writer, '{CARRIED}') THEN ''::bytea ELSE j.lines END "
    "FROM journal j WHERE j.institution = %s "
    f"AND (j.xid, j.commit_number) > (%s::xid8, %s) AND {_VISIBLE} "
    "ORDER BY j.institution, j.xid, j.commit_number LIMIT %s"
)
_LAST: Final = (
    f"FROM journal j WHERE j.institution = {{}} AND {_VISIBLE} "
    "ORDER BY j.institution DESC, j.xid DESC, j.commit_number DESC LIMIT 1"
)
_NOW: Final = f"SELECT j.writer, j.commit_number {_LAST.format('%s')}"
_STAMPS: Final = (
    f"SELECT u.name, coalesce((SELECT j.commit_number {_LAST.format('u.name')}), 0)::text "
    "FROM unnest(%s::text[]) AS u (name)"
)
# Not by its place: that is another one where the journal was written anew, or moved to another server.
_FIND: Final = "SELECT xid::text FROM journal WHERE commit_number = %s AND institution = %s AND writer = %s"


class BundleChangeFeed:
    """Reads the journal. A mark names the commit that it is behind, by writer and number."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self, institution: str) -> Marks:
        """Behind all that is told now."""
        with self._database.reading() as connection:
            row = connection.run(_NOW, (institution,)).fetchone()
        return {PASSED: Mark("", 0), **({_ALL: Mark(*row)} if row else {})}

    def since(self, institution: str, marks: Marks, limit: int) -> ChangePage:
        """What changed after `marks`."""
        page = Gathered(marks, limit)
        with self._database.reading() as connection:
            after = _place(connection, institution, marks.get(_ALL))
            for _ in range(0, MOST_COMMITS, _ROWS):
                rows = connection.run(_SINCE, (institution, *after, _ROWS)).fetchall()
                for xid, commit, writer, body in rows:
                    found = _changes(bytes(body), institution, commit)
                    if page.is_full or not page.take(commit, found, _ALL, Mark(writer, commit)):
                        return page.page(more=True)
                    after = (xid, commit)
                if len(rows) < _ROWS:
                    return page.page(more=False)
        return page.page(more=True)

    def stamps(self, institutions: Sequence[str]) -> Mapping[str, str]:
        """The number of the last commit that is told."""
        with self._database.reading() as connection:
            return dict(connection.run(_STAMPS, (list(institutions),)).fetchall())


def _changes(body: bytes, institution: str, commit: int) -> list[Change]:
    try:
        return list(changes(body.split(b"\n"), institution, commit, f"commit {commit} of {institution}"))
    except DamagedError as error:
        log.error("feed.commit_damaged", extra={"reason": str(error)})  # noqa: TRY400 - the reason names the place
        return []


def _place(connection: Connection, institution: str, mark: Mark | None) -> tuple[str, int]:
    """Where a mark is in the order of commits. Raises ForgottenError."""
    if mark is None:
        return ("0", 0)
    row = connection.run(_FIND, (mark.position, institution, mark.segment)).fetchone()
    if row is None:
        raise ForgottenError(UNKNOWN)
    return (row[0], mark.position)
