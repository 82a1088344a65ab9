"""A cluster's database made anew, in this process; and all that it answers, before and after."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from imagerepo.adapters.bundles.rebuild_staging import writable
from imagerepo.adapters.bundles.rebuilding import Means, Rebuilding
from imagerepo.adapters.postgres.holds import PostgresHolds
from imagerepo.adapters.postgres.index import PostgresIndex
from imagerepo.model.events import OnDifference
from imagerepo.model.query import Equals, Key, Level, Query
from imagerepo.model.rebuilt import Rebuilt
from imagerepo.settings_cluster import Store
from tests.harness import databases, s3
from tests.harness.committing import Writing
from tests.harness.ledgers import Keeping

_ROWS = {
    "study": "SELECT t.*, n.name FROM study t JOIN institution n ON n.id = t.institution_id ORDER BY t.id",
    "series": "SELECT s.*, n.name FROM series s JOIN institution n ON n.id = s.institution_id ORDER BY s.id",
    "instance": "SELECT i.*, n.name FROM instance i JOIN institution n ON n.id = i.institution_id ORDER BY i.id",
    "version": "SELECT * FROM version ORDER BY instance_id, number",
    "copy": "SELECT instance_id, number, copy, tier FROM copy ORDER BY instance_id, number, copy",
    "gone": "SELECT n.name, g.uid, g.number FROM gone g JOIN institution n ON n.id = g.institution_id ORDER BY 1, 2",
    "hold": "SELECT n.name, h.study_uid, h.held, h.commit_number, h.at, h.caller, h.reason FROM hold h "
    "JOIN institution n ON n.id = h.institution_id ORDER BY 1, 2",
    "journal": "SELECT commit_number, institution, writer, first, entries, stored, lines FROM journal ORDER BY 1, 2",
    "visible": "SELECT institution, commit_number FROM journal ORDER BY institution, xid, commit_number",
    "chain": "SELECT institution, writer, sequence, digest FROM chain ORDER BY 1, 2",
}
LYING = (
    'SELECT i.uid, r.number, o.store, o.key, r."offset", r.length, o.size, o.live FROM "range" r '
    "JOIN object o ON o.id = r.object_id JOIN instance i ON i.id = r.instance_id ORDER BY 1, 2"
)
"""Where versions lie."""
INSTITUTIONS = ("default", "other")


def quietly(_rebuilt: Rebuilt) -> None:
    """Tells nobody."""


def versions(_institution: str) -> OnDifference:
    """Institutions that take other bytes under a known UID for a new version."""
    return OnDifference.VERSION


def rebuild(
    url: str,
    settings: Store,
    folder: Path,
    tell: Callable[[Rebuilt], None] = quietly,
    on_difference: Callable[[str], OnDifference] = versions,
) -> Rebuilt:
    """Fill a database that nobody uses."""
    with ExitStack() as opened:
        database = opened.enter_context(databases.opened(writable(url), 24))
        store = opened.enter_context(s3.opened(settings))
        means = Means(database, store, folder, INSTITUTIONS, on_difference, tell)
        return Rebuilding(means).run()


def rows(one: Writing) -> dict[str, list[tuple]]:
    """All rows by which questions are answered, but for keys that nobody sees."""
    found = {table: one.rows(statement) for table, statement in _ROWS.items()}
    for table in ("study", "series", "instance"):  # the institution by its name, not by its key
        found[table] = [(row[0], *row[2:]) for row in found[table]]
    return found


def answers(one: Writing) -> list[object]:
    """All that can be asked, in the order in which it is answered."""
    index, holds = PostgresIndex(one.database), PostgresHolds(one.database)
    found: list[object] = [index.holdings(), list(one.journal.entries())]
    for institution in INSTITUTIONS:
        for level in Level:
            for matches in ((), ((Key.PATIENT_NAME, Equals("DOE^JANE")),)):
                rows_ = index.search(Query(institution, level, matches, 1000))
                found.append(rows_)
                uids = [row.instance.uid for row in rows_ if row.instance is not None]
                found += [one.bytes_of(uid, institution=institution) for uid in uids]
        found.append(holds.page(institution, "", 100))
    return found


def settle(one: Writing) -> None:
    """Have all that is committed in the ledger."""
    keeping = Keeping(one)
    keeping.settle()
    while keeping.entries("other") != keeping.rows("other"):
        keeping.write()
