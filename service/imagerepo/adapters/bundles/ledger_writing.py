"""Copy the journal into S3, object after object; any number of processes may, one at a time does.

1. An institution's ledger is taken for a while, so that others do not do the same work.
2. What became visible since is read in the order of its transactions, only as far as none is under way that began
   earlier: nothing can come to stand before what was written.
3. It is put as the next object, where there is none yet.
4. The database notes how far it is.

Who dies between 3 and 4 leaves an object that the next one finds in his way, and takes for his own if it has what he
was to put. What else he may find, there or in a later epoch, a database that was set back since has written: a new
epoch begins, above all that there are.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from imagerepo.adapters.bundles import ledger, ledger_format
from imagerepo.adapters.bundles.ledger_format import BEGIN, LedgerEntry, LedgerObject, Place, Tip
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.standbys import await_standbys
from imagerepo.adapters.segments.lines import Link
from imagerepo.errors import DamagedError, ExistsError, OvertakenError, SettingsError, UnavailableError

log = logging.getLogger(__name__)

_ROWS: Final = 64  # of the journal, read at a time
_SIZE: Final = 4 << 20  # bytes of lines after which an object is full
_OBJECTS: Final = 16  # of one institution, then others have their turn
_HELD: Final = 20  # seconds; what takes longer is done twice, and counts once

_INSTITUTIONS: Final = "SELECT name FROM institution ORDER BY name"
_UNKNOWN: Final = (
    "SELECT i.name FROM institution i WHERE NOT EXISTS (SELECT FROM ledger l WHERE l.institution = i.name)"
)
_TAKE: Final = (
    "UPDATE ledger SET holder = %s, held_until = now() + make_interval(secs => %s) "
    "WHERE institution = %s AND (holder = %s OR held_until < now()) "
    "RETURNING epoch, number, digest, xid::text, commit_number"
)
_WHERE: Final = "SELECT epoch, number FROM ledger WHERE institution = %s"
# What is in S3 already, a chain's numbers tell: after the database was made anew, transactions have other ones.
_SINCE: Final = (
    "SELECT j.xid::text, j.commit_number, j.writer, j.first, j.stored, "
    "(SELECT coalesce(sum(o.stored), 0)::bigint FROM journal o "
    "WHERE o.commit_number = j.commit_number AND o.institution < j.institution), j.lines "
    "FROM journal j LEFT JOIN ledger_chain c ON c.institution = j.institution AND c.writer = j.writer "
    "WHERE j.institution = %s AND (j.xid, j.commit_number) > (%s::xid8, %s) "
    "AND j.xid < pg_snapshot_xmin(pg_current_snapshot()) AND j.first > coalesce(c.sequence, 0) "
    "ORDER BY j.xid, j.commit_number LIMIT %s"
)
_ADVANCE: Final = (
    "UPDATE ledger SET epoch = %s, number = %s, digest = %s, xid = %s::xid8, commit_number = %s "
    "WHERE institution = %s AND epoch = %s AND number = %s"
)
_REACH: Final = (
    "INSERT INTO ledger_chain (institution, writer, sequence, digest) VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (institution, writer) DO UPDATE SET sequence = excluded.sequence, digest = excluded.digest "
    "WHERE ledger_chain.sequence < excluded.sequence"
)
_BEGIN: Final = (
    "INSERT INTO ledger (institution, epoch, number, digest, xid, commit_number) "
    "VALUES (%s, %s, %s, %s, %s::xid8, -1) ON CONFLICT DO NOTHING"
)
_OLDEST: Final = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
# The rows that follow what chains have in S3; in each chain the numbers of transactions rise.
_FIRST_MISSING: Final = (
    "SELECT min(j.xid::text::bigint) FROM chain c "
    "LEFT JOIN ledger_chain l ON l.institution = c.institution AND l.writer = c.writer "
    "JOIN journal j ON j.institution = c.institution AND j.writer = c.writer "
    "AND j.first = coalesce(l.sequence, 0) + 1 "
    "WHERE c.institution = %s AND c.sequence > coalesce(l.sequence, 0)"
)
_AT: Final = (
    "SELECT first + entries - 1, lines FROM journal WHERE institution = %s AND writer = %s AND first <= %s "
    "ORDER BY first DESC LIMIT 1"
)


@dataclass(frozen=True, slots=True)
class _Position:
    """How far the ledger of an institution is."""

    tip: Tip
    xid: str  # of the last row that is in it
    commit: int  # likewise


@dataclass(frozen=True, slots=True)
class _Shared:
    """What S3 and the database both have of a ledger."""

    tip: Tip
    heads: Mapping[str, Link]  # by writer where chains stand there
    beyond: str  # key of the first object with something that the database lacks; '': there is none


class LedgerWriter:
    """Writes the ledgers of all institutions. For one thread."""

    def __init__(self, database: Database, store: S3Store, holder: str) -> None:
        """Assemble.

        Args:
            database: of the cluster.
            store: of the cluster.
            holder: names who writes; nobody else in the cluster has the name at the same time.
        """
        self._database = database
        self._store = store
        self._holder = holder

    def write(self) -> None:
        """Write what has become visible. Raises UnavailableError: some of it is left for later."""
        with self._database.reading() as connection:
            names = [name for (name,) in connection.run(_INSTITUTIONS)]
        failed: UnavailableError | None = None
        for name in names:
            try:
                for _ in range(_OBJECTS):
                    if not self._write(name):
                        break
            except UnavailableError as error:
                failed = error
        if failed is not None:
            raise failed

    def _write(self, institution: str) -> bool:
        """Put the next object, if there is something for it and nobody else is at it; whether it was full."""
        position = self._taken(institution)
        if position is None:
            return False
        rows = self._rows(institution, position)
        if not rows:
            return False
        with self._database.reading() as connection:
            await_standbys(connection)
        try:
            found, last = self._put(institution, position, rows)
        except OvertakenError:
            return True
        self._note(position, found, last)
        return _is_full(rows)

    def _taken(self, institution: str) -> _Position | None:
        """How far it is, taken for a while; None: somebody else has it."""
        found = self._take(institution)
        if found is None:
            with self._database.reading() as connection:
                is_there = connection.run(_WHERE, (institution,)).fetchone() is not None
            if not is_there:
                self._begin(institution)
                found = self._take(institution)
        return found

    def _take(self, institution: str) -> _Position | None:
        with self._database.reading() as connection:
            row = connection.run(_TAKE, (self._holder, _HELD, institution, self._holder)).fetchone()
        if row is None:
            return None
        epoch, number, digest, xid, commit = row
        return _Position(Tip(Place(epoch, number), digest), xid, commit)

    def _rows(self, institution: str, position: _Position, most: int | None = None) -> list[tuple[str, LedgerEntry]]:
        """What follows, with the transactions' numbers: an object full, or so many."""
        found: list[tuple[str, LedgerEntry]] = []
        xid, commit = position.xid, position.commit
        while most is None or len(found) < most:
            limit = _ROWS if most is None else min(_ROWS, most - len(found))
            with self._database.reading() as connection:
                rows = connection.run(_SINCE, (institution, xid, commit, limit)).fetchall()
            for xid, commit, writer, first, stored, place, body in rows:
                found.append((xid, LedgerEntry(commit, institution, writer, first, stored, place, bytes(body))))
            if len(rows) < limit or (most is None and _is_full(found)):
                break
        return found

    def _put(
        self, institution: str, position: _Position, rows: Sequence[tuple[str, LedgerEntry]]
    ) -> tuple[LedgerObject, str]:
        """Put rows as the next object; what is there now, and the number of its last transaction."""
        place = replace(position.tip.place, number=position.tip.place.number + 1)
        while True:
            # Below a later epoch nothing counts that is put: the database was set back, or somebody died before he
            # had noted that it begins.
            last = ledger.last_epoch(self._store, institution, place.epoch)
            if last > place.epoch:
                place = replace(place, epoch=last)
                met = self._met(institution, position, place)
                if met is not None:
                    return met
                place = _next_epoch(institution, place)
            body = ledger_format.encoded(institution, place, position.tip, [entry for _, entry in rows])
            key = ledger_format.key_of(institution, place)
            try:
                self._store.put(key, [body], institution=institution)
            except ExistsError:
                met = self._met(institution, position, place)
                if met is not None:
                    return met
                place = _next_epoch(institution, place)
            else:
                return ledger_format.decoded(body, key), rows[-1][0]

    def _met(self, institution: str, position: _Position, place: Place) -> tuple[LedgerObject, str] | None:
        """What is there, if it is what follows; None: it is something else. Raises OvertakenError."""
        try:
            found = ledger.object_at(self._store, institution, place)
        except DamagedError:
            found = None
        if found is None or found.after != position.tip or not found.entries:
            self._require_unmoved(institution, position)
            return None
        rows = self._rows(institution, position, len(found.entries))
        self._require_unmoved(institution, position)  # else rows are missing that somebody has noted meanwhile
        if [entry for _, entry in rows] != list(found.entries):
            return None
        return found, rows[-1][0]

    def _require_unmoved(self, institution: str, position: _Position) -> None:
        with self._database.reading() as connection:
            row = connection.run(_WHERE, (institution,)).fetchone()
        if row != (position.tip.place.epoch, position.tip.place.number):
            raise OvertakenError(f"the ledger of {institution} was gone on with by somebody else")

    def _note(self, position: _Position, found: LedgerObject, xid: str) -> None:
        """Note how far it is, unless somebody else has meanwhile."""
        last, before = found.entries[-1], position.tip.place
        with self._database.transaction() as connection:
            reached = (found.place.epoch, found.place.number, found.digest, xid, last.commit)
            moved = connection.run(_ADVANCE, (*reached, found.institution, before.epoch, before.number))
            if moved.rowcount:
                heads = {one.writer: Link(one.last, one.digest) for one in found.entries}
                _reach(connection, found.institution, heads)

    def _begin(self, institution: str) -> None:
        """Note that there is nothing yet; or what is in S3, where the database was made anew from that."""
        try:
            self._store.check([institution])
        except SettingsError as error:
            raise UnavailableError(str(error)) from error
        shared = self._shared(institution)
        if shared.beyond:
            raise UnavailableError(
                f"{self._store.bucket(institution)}/{shared.beyond} is of the ledger of another database: this one "
                "lacks commits of it; see cluster.store.bucket_prefix and cluster.database.url. If it was restored to "
                "an earlier time: imagerepo audit acknowledge; else make it anew: imagerepo index rebuild"
            )
        with self._database.transaction() as connection:
            begin(connection, institution, shared.tip, shared.heads)

    def acknowledge(self) -> Sequence[str]:
        """Go on with ledgers of which the database knows nothing since it was set back, behind what it has of them.

        Returns:
            Keys from which on it lacks what is in them, of each such ledger.

        Raises:
            UnavailableError: some of them are left as they were; to be run again.
        """
        with self._database.reading() as connection:
            names = [name for (name,) in connection.run(_UNKNOWN)]
        gone: list[str] = []
        for name in names:
            shared = self._shared(name)
            if shared.beyond:
                with self._database.transaction() as connection:
                    begin(connection, name, shared.tip, shared.heads)
                gone.append(f"{self._store.bucket(name)}/{shared.beyond} and what follows it")
        return gone

    def _shared(self, institution: str) -> _Shared:
        """What S3 and the database both have; what is damaged stays as it is."""
        tip, heads = BEGIN, dict[str, Link]()
        for one in ledger.objects(self._store, institution, _say):
            reached = {entry.writer: Link(entry.last, entry.digest) for entry in one.entries}
            if not all(self._has(institution, writer, link) for writer, link in reached.items()):
                return _Shared(tip, heads, one.key)
            tip = one.tip
            heads |= reached
        return _Shared(tip, heads, "")

    def _has(self, institution: str, writer: str, link: Link) -> bool:
        with self._database.reading() as connection:
            return link_at(connection, institution, writer, link.sequence) == link


def begin(connection: Connection, institution: str, tip: Tip, heads: Mapping[str, Link]) -> None:
    """Note how far a ledger is of which nothing is noted, in a transaction.

    Args:
        connection: to the database, which has the journal as far.
        institution: whose ledger.
        tip: its last object.
        heads: by writer where chains stand in it.
    """
    # Asked first: whatever has a lower number is visible to the questions that follow.
    (oldest,) = connection.run(_OLDEST).fetchone() or (0,)
    _reach(connection, institution, heads)
    (missing,) = connection.run(_FIRST_MISSING, (institution,)).fetchone() or (None,)
    xid = oldest if missing is None else min(oldest, missing)
    connection.run(_BEGIN, (institution, tip.place.epoch, tip.place.number, tip.digest, str(xid)))


def link_at(connection: Connection, institution: str, writer: str, sequence: int) -> Link | None:
    """Where a chain stands in the database behind the commit that has the entry of that number, or the last one."""
    row = connection.run(_AT, (institution, writer, sequence)).fetchone()
    return None if row is None else Link(row[0], ledger_format.digest_of_last(bytes(row[1])))


def _next_epoch(institution: str, place: Place) -> Place:
    in_the_way = ledger_format.key_of(institution, place)
    log.warning("ledger.epoch_begins", extra={"institution": institution, "in_the_way": in_the_way})
    return replace(place, epoch=place.epoch + 1)


def _is_full(rows: Sequence[tuple[str, LedgerEntry]]) -> bool:
    return sum(len(entry.lines) for _, entry in rows) >= _SIZE


def _reach(connection: Connection, institution: str, heads: Mapping[str, Link]) -> None:
    for writer, link in sorted(heads.items()):
        connection.run(_REACH, (institution, writer, link.sequence, link.digest))


def _say(error: DamagedError) -> None:
    log.error("ledger.damaged", extra={"reason": str(error)})
