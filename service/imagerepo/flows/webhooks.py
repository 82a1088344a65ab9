"""Webhooks: what changed is posted to who is to be told, message by message, in the order in which it changed.

How far a webhook has been told is written in the transaction that adds a message as a task, and there is one such task
at a time: what a dead receiver misses stays in the journal, and costs nothing. A task is taken out when the receiver
has taken the message, so that it may get it twice, with the same id. What it refuses over and over is parked, and the
next message goes on behind it.
"""

import contextlib
import json
import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import Enum
from typing import Final

from imagerepo.errors import (
    ForgottenError,
    ImagerepoError,
    OvertakenError,
    PeerError,
    PeerFailure,
    SettingsError,
    UnavailableError,
)
from imagerepo.flows.changes import as_fields, position_of
from imagerepo.flows.work import Attempts, later, now
from imagerepo.model.task import NewTask, Task, TaskKind, TaskState
from imagerepo.model.webhook import Webhook
from imagerepo.ports.feed import ChangeFeed, ChangePage, Marks
from imagerepo.ports.tasks import Selection, Tasks
from imagerepo.ports.webhooks import Posting, Postings
from imagerepo.settings import Institution

log = logging.getLogger(__name__)

_MOST: Final = 100  # changes of one message
_PAGES: Final = 20  # looked through for one message before others have their turn
_TIMEOUTS: Final = 6  # of a webhook: connecting, an answer that trickles; twice, if a connection was stale
_MARGIN: Final = 10.0  # seconds for all that is not waited for
_SAVE_AFTER: Final = 10.0  # seconds; where nothing is to be told, what is followed again is passed over again
_GONE: Final = "there is no webhook {!r} any more (setting institutions[].webhooks); put it back, or drop its tasks"


class Found(Enum):
    """What there is for a webhook."""

    MESSAGE = "message"  # one was made
    WAITING = "waiting"  # one waits already
    NOTHING = "nothing"  # that it has not been told
    MORE = "more"  # to look through


class Hooks:
    """All webhooks. `replace` exchanges them at once."""

    def __init__(self, institutions: tuple[Institution, ...]) -> None:
        self._by_queue = _by_queue(institutions)

    def replace(self, institutions: tuple[Institution, ...]) -> None:
        """Use other ones from now on."""
        self._by_queue = _by_queue(institutions)

    def all(self) -> Sequence[Webhook]:
        """In the order of the settings."""
        return tuple(self._by_queue.values())

    def find(self, queue: str) -> Webhook | None:
        """The one whose tasks a queue has, unless it is gone."""
        return self._by_queue.get(queue)


def begin(tasks: Tasks, feed: ChangeFeed, hooks: Hooks) -> None:
    """Before anything arrives: whoever is to be told and never was is told what comes. Raises UnavailableError."""
    for hook in hooks.all():
        if tasks.followed(hook.follower) is None:
            with contextlib.suppress(OvertakenError):  # another replica begins at the same time
                tasks.follow(hook.follower, feed.now(hook.institution), [], None)


class Announcing:
    """Makes messages of what changed. Safe to call from any number of threads."""

    def __init__(self, feed: ChangeFeed, tasks: Tasks) -> None:
        self._feed = feed
        self._tasks = tasks
        self._stamps: dict[str, str] = {}  # by queue: when it was last seen that all is told
        self._saved: dict[str, datetime] = {}  # by queue
        self._problems: dict[str, str] = {}  # by queue: what was logged last

    def look(self, hooks: Hooks) -> None:
        """Make the next message of each webhook that has none. Raises UnavailableError."""
        asked = hooks.all()
        if not asked:
            return
        stamps = self._feed.stamps(sorted({hook.institution for hook in asked}))
        for hook in asked:
            if self._stamps.get(hook.queue) != stamps[hook.institution]:
                self._look_at(hook, stamps)

    def _look_at(self, hook: Webhook, stamps: Mapping[str, str]) -> None:
        try:
            if self.next(hook) is Found.NOTHING:
                self._stamps[hook.queue] = stamps[hook.institution]
        except OvertakenError:
            pass  # another process is at it
        except UnavailableError:
            raise
        except ImagerepoError as error:
            # Whatever it is about concerns this one alone: the others are told, and all else is done.
            if self._problems.get(hook.queue) != str(error):
                log.warning("webhook.waits", extra={"webhook": hook.queue, "reason": str(error)})
                self._problems[hook.queue] = str(error)

    def next(self, hook: Webhook) -> Found:
        """Make the next message, unless one waits already: there is one at a time, so that none overtakes another.

        Raises:
            OvertakenError: another process has made it.
            UnavailableError: nothing has changed.
        """
        known = self._tasks.followed(hook.follower)  # before it is seen that none waits: so it can't be made twice
        if self._tasks.page(Selection(TaskKind.WEBHOOK, hook.queue, TaskState.WAITING), 0, 1):
            return Found.WAITING
        if known is None:
            self._tasks.follow(hook.follower, self._feed.now(hook.institution), [], None)
            return Found.NOTHING
        page = self._since(hook, known)
        for _ in range(_PAGES):
            if page.changes or not page.more:
                break
            page = self._since(hook, page.marks)
        if page.changes:
            self._tasks.follow(hook.follower, page.marks, [_message(hook, page)], known)
            return Found.MESSAGE
        self._save(hook, known, page)
        return Found.MORE if page.more else Found.NOTHING

    def _since(self, hook: Webhook, marks: Marks) -> ChangePage:
        try:
            return self._feed.since(hook.institution, marks, _MOST)
        except ForgottenError as error:
            # A backup was restored: of what was changed since then, nobody knows what it has been told.
            log.error("webhook.begins_anew", extra={"webhook": hook.queue, "reason": str(error)})  # noqa: TRY400 - all is said
            return ChangePage((), self._feed.now(hook.institution), more=False)

    def _save(self, hook: Webhook, known: Marks, page: ChangePage) -> None:
        """Where there was nothing to be told, pass over it for good now and then."""
        last = self._saved.get(hook.queue)
        if page.marks != known and (page.more or last is None or (now() - last).total_seconds() > _SAVE_AFTER):
            self._tasks.follow(hook.follower, page.marks, [], known)
            self._saved[hook.queue] = now()


class Telling:
    """Does the tasks of kind WEBHOOK; a queue is a webhook, all of it one lane."""

    kind = TaskKind.WEBHOOK

    def __init__(
        self, tasks: Tasks, attempts: Attempts, hooks: Hooks, announcing: Announcing, postings: Postings
    ) -> None:
        self._tasks = tasks
        self._attempts = attempts
        self._hooks = hooks
        self._announcing = announcing
        self._postings = postings

    def width(self, queue: str) -> int:  # noqa: ARG002 - every queue has the same
        """One after another."""
        return 1

    def work(self, queue: str, stop: threading.Event) -> None:
        """Post what is due, and what is to be told behind it."""
        hook = self._hooks.find(queue)
        if hook is None:
            self._attempts.queue_failed(self.kind, queue, _GONE.format(queue))
            return
        with self._postings.posting(hook) as posting:
            while not stop.is_set() and self._hooks.find(queue) == hook:
                batch = self._tasks.lease(self.kind, queue, now(), later(_lease(hook)), 1)
                if batch:
                    if not self._post(posting, batch[0]):
                        return
                elif not self._has_made_more(hook):
                    return

    def _has_made_more(self, hook: Webhook) -> bool:
        try:
            return self._announcing.next(hook) is Found.MESSAGE
        except OvertakenError:
            return False  # it is another's, or found when next looked for

    def _post(self, posting: Posting, task: Task) -> bool:
        """Post a message; whether the webhook is still there."""
        try:
            posting.post(_id(task), task.payload.encode())
        except PeerError as error:
            if error.failure is PeerFailure.DECLINED:
                self._attempts.task_failed(task, str(error))
                return True
            problem = str(error)
        except SettingsError as error:
            problem = str(error)
        else:
            self._tasks.finish([task.id])
            self._attempts.queue_works(self.kind, task.queue)
            return True
        self._attempts.queue_failed(self.kind, task.queue, problem)
        self._tasks.give_back([task.id])
        return False


def _id(task: Task) -> str:
    """A message's: no two have the same, since no institution and no webhook has an underscore in its name."""
    return f"{task.queue.replace('/', '_')}_{task.name}"


def _lease(hook: Webhook) -> float:
    """Seconds: as long as a message may take at the most, and no longer, since nobody tells it if we die."""
    return _MARGIN + _TIMEOUTS * hook.timeout


def _message(hook: Webhook, page: ChangePage) -> NewTask:
    at = now()
    body = {
        "type": "changes",
        "timestamp": at.isoformat(timespec="microseconds"),
        "data": {
            "institution": hook.institution,
            "changes": [as_fields(one) for one in page.changes],
            "next": position_of(page.marks),
        },
    }
    return NewTask(
        kind=TaskKind.WEBHOOK,
        institution=hook.institution,
        queue=hook.queue,
        lane="",
        name=page.changes[0].id,
        payload=json.dumps(body),
        due_at=at,
    )


def _by_queue(institutions: tuple[Institution, ...]) -> dict[str, Webhook]:
    hooks = (
        Webhook(one.id, said.name, said.url, said.secret_file, said.ca, said.timeout)
        for one in institutions
        for said in one.webhooks
    )
    return {hook.queue: hook for hook in hooks}
