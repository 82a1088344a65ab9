"""Forwarding: what was committed and a rule names becomes tasks.

It follows the commits, not ingest: no sender waits for it. How far it has come is written in the transaction that adds
the tasks, so that a version becomes a task once, whenever this process dies, and however many follow: who comes second
finds that another has gone on from where it began, and goes on behind that.
"""

import contextlib
import json
import logging
from datetime import datetime
from typing import Final

from imagerepo.errors import ImagerepoError, OvertakenError, UnavailableError
from imagerepo.flows import work
from imagerepo.flows.destinations import Destinations
from imagerepo.flows.metadata import Metadata
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.rules import Rules
from imagerepo.model.scope import Scope
from imagerepo.model.task import NewTask, TaskKind
from imagerepo.ports.feed import Arrived, Feed, Marks
from imagerepo.ports.tasks import Tasks

log = logging.getLogger(__name__)

FOLLOWER: Final = "forwarding"
_SAVE_AFTER: Final = 10.0  # seconds; what is followed again after a death is passed over again, at little cost


def begin(tasks: Tasks, feed: Feed, rules: Rules) -> None:
    """Before anything arrives: where there are rules, whatever comes from now on is followed. Raises UnavailableError.

    Where there are none, nothing is: what comes while there is no rule is not sent once there is one.
    """
    if not rules.rules:
        tasks.unfollow(FOLLOWER)
    elif tasks.followed(FOLLOWER) is None:
        with contextlib.suppress(OvertakenError):  # another replica begins at the same time
            tasks.follow(FOLLOWER, feed.now(), [], None)


class Forwarding:
    """Turns arrivals into tasks. For one thread; `replace` may be called by another."""

    def __init__(self, feed: Feed, tasks: Tasks, metadata: Metadata, retrieve: Retrieve) -> None:
        self._feed = feed
        self._tasks = tasks
        self._metadata = metadata
        self._retrieve = retrieve
        self._marks: Marks | None = None
        self._known: Marks | None = None  # how far it is said to have been followed
        self._saved: datetime | None = None  # None: it is not known that there are rules

    def look(self, rules: Rules, destinations: Destinations) -> bool:
        """Make tasks of a page of what has arrived; whether there was more. Raises UnavailableError."""
        if not rules.rules:
            self._marks = self._feed.now()
            if self._saved is not None:
                self._tasks.unfollow(FOLLOWER)
                self._saved = None
            return False
        if self._saved is None:
            self._known = self._tasks.followed(FOLLOWER)
            self._marks = self._known if self._known is not None else self._marks
        page = self._feed.since(self._feed.now() if self._marks is None else self._marks)
        tasks = [task for one in page.arrived for task in self._tasks_of(one, rules, destinations)]
        # Marks alone need not be durable at once: every time is a flush of the disk.
        if tasks or self._saved is None or (work.now() - self._saved).total_seconds() > _SAVE_AFTER:
            try:
                self._tasks.follow(FOLLOWER, page.marks, tasks, self._known)
            except OvertakenError:
                self._marks = self._saved = None
                return True
            self._known = {**(self._known or {}), **page.marks}
            self._saved = work.now()
        self._marks = page.marks
        return page.more

    def _tasks_of(self, arrived: Arrived, rules: Rules, destinations: Destinations) -> list[NewTask]:
        names = rules.destinations(arrived, self._header)
        return [_task(arrived, name) for name in names if destinations.serves(name, arrived.institution)]

    def _header(self, arrived: Arrived) -> bytes:
        scope = Scope(
            arrived.institution, arrived.study_uid, arrived.series_uid, arrived.instance_uid, arrived.version
        )
        try:
            return self._metadata.one(self._retrieve.version(scope), "")
        except UnavailableError:
            raise
        except ImagerepoError as error:
            # Deleted meanwhile, damaged, or too large to be looked at: no rule that asks for more can hold.
            log.warning("forward.no_header", extra={"instance": arrived.instance_uid, "reason": str(error)})
            return b"{}"


def _task(arrived: Arrived, destination: str) -> NewTask:
    return NewTask(
        kind=TaskKind.FORWARD,
        institution=arrived.institution,
        queue=destination,
        lane=f"{arrived.institution}/{arrived.study_uid}",
        name=f"{arrived.institution}/{arrived.instance_uid}/{arrived.version}",
        payload=json.dumps([arrived.study_uid, arrived.series_uid, arrived.instance_uid, arrived.version]),
        due_at=work.now(),
    )


def scope_of(institution: str, payload: str) -> Scope:
    """What a task's payload names."""
    study, series, instance, version = json.loads(payload)
    return Scope(institution, study, series, instance, version)
