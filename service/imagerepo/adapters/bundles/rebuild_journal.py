"""The journal of an institution out of its ledger, and which of its commits is about which study.

Rows come in the order in which they became visible once: who follows them, by transactions and then by commit
numbers, finds them in that order again.
"""

import logging
from collections.abc import Iterator
from typing import Final

from imagerepo.adapters.bundles import ledger
from imagerepo.adapters.bundles.known import Institutions
from imagerepo.adapters.bundles.ledger import LedgerEntry
from imagerepo.adapters.bundles.ledger_format import BEGIN
from imagerepo.adapters.bundles.ledger_writing import begin
from imagerepo.adapters.bundles.rebuild_staging import add_studies, copy
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.settled import in_transaction
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.lines import Link
from imagerepo.errors import DamagedError
from imagerepo.model.events import Action
from imagerepo.model.rebuilt import Rebuilt

log = logging.getLogger(__name__)

_BYTES: Final = 8 << 20  # of lines, written in one transaction
_ROWS: Final = 2000  # likewise
_ABOUT: Final = frozenset({Action.STORE, Action.DELETE, Action.HOLD, Action.RELEASE})
_JOURNAL: Final = "commit_number, institution, writer, first, entries, stored, lines"


def rebuild(database: Database, store: S3Store, institution: str, rebuilt: Rebuilt) -> None:
    """Write an institution's journal, where its chains stand, and how far its ledger is; nothing of it is there.

    Raises:
        UnavailableError: some of it may be there.
    """

    def note(error: DamagedError) -> None:
        rebuilt.damaged += 1
        log.error("rebuild.ledger_damaged", extra={"institution": institution, "reason": str(error)})

    tip, heads = BEGIN, dict[str, Link]()

    def read() -> Iterator[LedgerEntry]:
        nonlocal tip
        for one in ledger.objects(store, institution, note):
            tip = one.tip
            yield from one.entries

    for entries in _together(read()):
        in_transaction(database, lambda connection, entries=entries: _write(connection, institution, entries))
        heads.update((one.writer, Link(one.last, one.digest)) for one in entries)
        rebuilt.commits += len(entries)
    if heads:
        Institutions(database).key(institution)
    rows = [(institution, writer, link.sequence, link.digest) for writer, link in heads.items()]

    def end(connection: Connection) -> None:
        copy(connection, "chain", "institution, writer, sequence, digest", rows)
        if tip != BEGIN:
            begin(connection, institution, tip, heads)  # else every replica would read the whole ledger once more

    in_transaction(database, end)


def _together(entries: Iterator[LedgerEntry]) -> Iterator[list[LedgerEntry]]:
    """What goes into one transaction, within which order is that of commit numbers."""
    lot: list[LedgerEntry] = []
    size = 0
    for one in entries:
        if lot and (size > _BYTES or len(lot) >= _ROWS or one.commit <= lot[-1].commit):
            yield lot
            lot, size = [], 0
        lot.append(one)
        size += len(one.lines)
    if lot:
        yield lot


def _write(connection: Connection, institution: str, entries: list[LedgerEntry]) -> None:
    copy(
        connection,
        "journal",
        _JOURNAL,
        (
            (one.commit, institution, one.writer, one.first, one.last - one.first + 1, one.stored, one.lines)
            for one in entries
        ),
    )
    about = [(institution, study, one.commit, one.place) for one in entries for study in _studies(one)]
    copy(connection, "rebuild_commit", "institution, study, commit_number, place", about)
    add_studies(connection, institution, {study for _, study, _, _ in about})


def _studies(entry: LedgerEntry) -> set[str]:
    """Studies of which a commit says something that counts."""
    found: set[str] = set()
    for line in entry.lines.split(b"\n"):
        try:
            said = lines.parse_line(line, f"commit {entry.commit}")
        except DamagedError as error:
            log.error("rebuild.line_damaged", extra={"reason": str(error)})  # noqa: TRY400 - the reason says all
            continue
        if said["action"] in _ABOUT:
            found.add(said["study"])
    return found
