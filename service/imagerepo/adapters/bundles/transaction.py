"""The transaction that makes a commit: lock, read, decide, write; two round trips and the COMMIT.

1. The writer's lock, then those of the studies, are taken for the transaction: whoever stores to a study or changes
   it has its lock, so that nothing read below them can change, and rows of a study never conflict.
2. A commit number, so that within a study numbers follow each other as commits become visible.
3. What there is of studies, series and instances, and where the writer's chains stand.
4. Each request is decided (decisions.py), all rows and journal lines are written, table by table.

The same SOP Instance UID in two studies at the same moment is the one conflict that is left: the later one is rolled
back by the unique key and tried again, and then sees the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from imagerepo.adapters.bundles import correcting, decisions, doubt, journaling, known
from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles.decisions import Decisions
from imagerepo.adapters.bundles.item import Item
from imagerepo.adapters.bundles.journaling import Writer
from imagerepo.adapters.bundles.known import Institutions, Name, Question, State
from imagerepo.adapters.bundles.placing import late_after
from imagerepo.adapters.bundles.rows import Rows, of_objects
from imagerepo.adapters.index_sql.apply import Stored
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.failures import InDoubtError
from imagerepo.adapters.postgres.standbys import await_standbys
from imagerepo.model.events import CommitKind, Committed, StoreRequest


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction that is about to be committed."""

    commit: int
    answers: Sequence[tuple[Item, Committed]]  # that hold once it is
    again: Sequence[Item]  # that have to come again
    holds: bool  # whatever becomes of it: it changes nothing


class Transactor:
    """Makes transactions of one writer. For one thread at a time."""

    def __init__(self, database: Database, institutions: Institutions, writer: Writer) -> None:
        self._database = database
        self._institutions = institutions
        self._writer = writer
        self.prepared: Prepared | None = None
        """The transaction that was last sent to be committed."""

    def run(self, items: Sequence[Item], waits: str) -> Prepared:
        """Commit instances and journal entries; nothing is answered yet.

        Args:
            items: no changes among them.
            waits: how long for studies that others have, as PostgreSQL writes durations; '': not at all.

        Raises:
            InDoubtError: `prepared` may have been committed.
            UnavailableError: nothing has changed.
        """
        self.prepared = None
        keys = {name: self._institutions.key(name) for name in {one.request.caller.institution for one in items}}
        try:
            with self._database.transaction() as connection:
                self.prepared = self._prepare(connection, items, self._question(items, keys, waits), keys)
        except InDoubtError:
            if self.prepared is None or not self.prepared.holds:
                raise
        return self.prepared

    def _prepare(
        self, connection: Connection, items: Sequence[Item], question: Question, keys: dict[str, int]
    ) -> Prepared:
        """All but the COMMIT."""
        state = known.ask(connection, question)
        free = [one for one in items if (lock := known.lock_for(one.request)) is None or lock in state.locked]
        done = decisions.made(free, state, keys)
        answers = self._write(connection, done, state, keys)
        answered = {id(item) for item, _ in answers}
        # Where nothing but objects that nobody needs is written, a commit that is lost leaves them to the sweeper.
        holds = not (done.stored or done.journal) and not (answers and await_standbys(connection))
        return Prepared(state.commit, answers, [one for one in items if id(one) not in answered], holds)

    def is_committed(self, prepared: Prepared, error: InDoubtError) -> bool:
        """What became of a transaction whose connection was lost. Raises InDoubtError: that cannot be told."""
        return doubt.is_committed(self._database, self._writer.name, prepared.commit, error)

    def _question(self, items: Sequence[Item], keys: dict[str, int], waits: str) -> Question:
        series: dict[tuple[Name, str], None] = {}
        instances: dict[Name, None] = {}
        locks: set[int] = set()
        for item in items:
            request = item.request
            if isinstance(request, StoreRequest):
                key, attributes = keys[request.caller.institution], request.attributes
                series[(key, attributes.study_uid), attributes.series_uid] = None
                instances[key, attributes.instance_uid] = None
                locks.add(known.lock_of_study(request.caller.institution, attributes.study_uid))
        return Question(self._writer.name, list(keys), sorted(locks), waits, list(series), list(instances))

    def _write(
        self, connection: Connection, done: Decisions, state: State, keys: dict[str, int]
    ) -> list[tuple[Item, Committed]]:
        """Write all of it; what is to be answered."""
        now = microseconds(datetime.now(UTC))
        rows = Rows(state, keys, self._writer.slot, now)
        objects, object_keys, unneeded = of_objects(done, now)
        added: list[tuple[Item, Stored, int, bool]] = []
        for item, stored in done.stored:
            assert item.object_ is not None
            added.append((item, stored, *rows.add(stored, object_keys[item.object_])))
        with connection.pipeline():
            rows.write(connection, [{**one, "late_after": late_after(one["key"])} for one in objects])
            if unneeded:
                connection.run(sql.ADD_RECLAIM, (sql.document(unneeded),))
            journaling.write(connection, self._writer, done.commit, done.journal)
        # A correction says something else of the patient than what it corrects: only now it is known who disagrees.
        corrected = correcting.correct(connection, list(rows.corrections.values())) if rows.corrections else {}
        return [
            *done.answers,
            *(
                (item, Committed(CommitKind.STORED, stored.number, patient_differs=corrected.get(study, differs)))
                for item, stored, study, differs in added
            ),
        ]
