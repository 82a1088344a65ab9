"""Changes to what is stored, as the steps of a commit need them: may it be, what does it concern, which rows go.

A change gets its number when nothing of its study is in flight, and nothing of the study takes off before its rows are
written (numbers.py). So what is looked up here under the lock is all that earlier commits stored.
"""

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.index_sql import holds
from imagerepo.adapters.index_sql.holds import HoldEntry, refuse_held
from imagerepo.adapters.index_sql.removal import Deleted, Removal
from imagerepo.adapters.segments.objects import LocalObjects
from imagerepo.adapters.segments.read_back import describing
from imagerepo.errors import NotFoundError
from imagerepo.model.events import Action, ChangeRequest


@dataclass(frozen=True, slots=True)
class Extent:
    """What a change concerns."""

    instances: int
    last_commits: list[int]  # of those that stored them, the ones that are the last of their segments


class Changes:
    """Looks up and applies changes through one connection."""

    def __init__(self, data: Path, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._removal = Removal(connection, describing(LocalObjects(data)))

    def weigh(self, request: ChangeRequest) -> Extent:
        """What a change will concern.

        Raises:
            NotFoundError: nothing has that name, or there is no hold to be lifted.
            HeldError: what is to be deleted is held.
        """
        held = holds.find(self._connection, request.caller.institution, request.study_uid)
        if request.action is Action.RELEASE:
            if held is None:
                raise NotFoundError(f"study {request.study_uid} is not held")
            return Extent(0, [])
        extent = Extent(*self._removal.extent(_deleted(request, _NOT_YET)))
        if not extent.instances:
            raise NotFoundError(f"no {request.name} here")
        if request.action is Action.DELETE:
            refuse_held(request.study_uid, held)
        return extent

    def apply(self, request: ChangeRequest, commit: int) -> None:
        """Write the rows of a durable change, in the transaction of whoever calls."""
        if request.action is Action.DELETE:
            self._removal.delete(_deleted(request, commit))
        else:
            holds.enter(self._connection, HoldEntry.of(request, commit))


_NOT_YET = 1 << 62  # above every commit number


def _deleted(request: ChangeRequest, commit: int) -> Deleted:
    names = (request.study_uid, request.series_uid, request.instance_uid)
    return Deleted(request.caller.institution, commit, request.at, *names)
