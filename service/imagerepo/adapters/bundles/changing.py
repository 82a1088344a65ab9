"""Changes to what is stored: deletions, holds set and lifted, each in a transaction of its own.

It has the lock of its study, so that nothing is stored to it meanwhile, and what there is of it is all that was ever
acknowledged. Rows go at once; objects when none of their instances is left, some time later (reclaim.py).
"""

import time
from datetime import UTC, datetime
from typing import Final

from imagerepo.adapters.bundles import doubt, known, removing
from imagerepo.adapters.bundles import statements as sql
from imagerepo.adapters.bundles.decisions import Entries
from imagerepo.adapters.bundles.describing import Descriptions, Read, UndescribedError
from imagerepo.adapters.bundles.journaling import Writer, write
from imagerepo.adapters.bundles.known import Institutions, Question, State
from imagerepo.adapters.bundles.removing import Doomed
from imagerepo.adapters.index_sql.holds import HoldEntry, refuse_held
from imagerepo.adapters.moments import microseconds
from imagerepo.adapters.postgres import holds
from imagerepo.adapters.postgres.connecting import Connection
from imagerepo.adapters.postgres.database import Database
from imagerepo.adapters.postgres.failures import InDoubtError, RolledBackError
from imagerepo.adapters.segments import lines
from imagerepo.errors import NotFoundError
from imagerepo.model.events import Action, ChangeRequest, CommitKind, Committed

_WAIT: Final = "1s"  # for what is being stored to the study


class Changing:
    """Makes changes of one writer. For one thread at a time."""

    def __init__(self, database: Database, institutions: Institutions, read: Read, writer: Writer) -> None:
        self._database = database
        self._institutions = institutions
        self._read = read
        self._writer = writer
        self._prepared: tuple[int, Committed] | None = None  # the transaction that is to be committed, what it answers

    def change(self, request: ChangeRequest, until: float) -> Committed:
        """Make one change.

        Args:
            request: what is to be done.
            until: monotonic seconds; when it is given up.

        Raises:
            NotFoundError: nothing has that name, or there is no hold to be lifted.
            HeldError: what is to be deleted is held.
            InDoubtError: it may have been done.
            UnavailableError: nothing has changed.
        """
        key = self._institutions.key(request.caller.institution)
        descriptions = Descriptions(self._read)
        while True:
            self._prepared = None
            try:
                with self._database.transaction() as connection:
                    self._prepared = self._change(connection, request, key, descriptions)
                return self._prepared[1]
            except UndescribedError as error:
                descriptions.read(error.sources)
            except InDoubtError as error:
                if self._prepared is not None:
                    commit, result = self._prepared
                    if doubt.is_committed(self._database, self._writer.name, commit, error):
                        return result
            except RolledBackError:
                if time.monotonic() > until:
                    raise

    def _change(
        self, connection: Connection, request: ChangeRequest, key: int, descriptions: Descriptions
    ) -> tuple[int, Committed]:
        institution = request.caller.institution
        lock = known.lock_of_study(institution, request.study_uid)
        state = known.ask(connection, Question(self._writer.name, [institution], [lock], _WAIT, [], []))
        held = holds.find(connection, institution, request.study_uid)
        instances = 0
        match request.action:
            case Action.RELEASE:
                if held is None:
                    raise NotFoundError(f"study {request.study_uid} is not held")
                holds.enter(connection, HoldEntry.of(request, state.commit))
            case Action.HOLD:
                _, instances = _doomed(connection, request, key)
                holds.enter(connection, HoldEntry.of(request, state.commit))
            case _:
                doomed, instances = _doomed(connection, request, key)
                refuse_held(request.study_uid, held)
                now = microseconds(datetime.now(UTC))
                removing.remove(connection, doomed, now, self._writer.slot, descriptions)
                connection.run(sql.NEXT_GENERATION)
        self._journal(connection, request, instances, state)
        return state.commit, Committed(CommitKind.CHANGED, instances=instances)

    def _journal(self, connection: Connection, request: ChangeRequest, instances: int, state: State) -> None:
        institution = request.caller.institution
        entries = Entries(state.links.get(institution, lines.START))
        entries.add(lines.change_line(request, (instances, []), state.commit, entries.link))
        write(connection, self._writer, state.commit, {institution: entries})


def _doomed(connection: Connection, request: ChangeRequest, key: int) -> tuple[Doomed, int]:
    """What a request names, and how many instances that are: some."""
    row = connection.run(sql.STUDY_KEY, (key, request.study_uid)).fetchone()
    if row is not None:
        doomed = Doomed(key, row[0], request.series_uid, request.instance_uid)
        if instances := removing.count(connection, doomed):
            return doomed, instances
    raise NotFoundError(f"no {request.name} here")
