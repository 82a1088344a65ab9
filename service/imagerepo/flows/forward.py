"""Send what forwarding has made tasks of: a way to a destination stays open over a study, and on to the next."""

import logging
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Self

from imagerepo.errors import DamagedError, ForbiddenError, NotFoundError, PeerError, PeerFailure, SettingsError
from imagerepo.flows.blocking_audit import BlockingAudit
from imagerepo.flows.destinations import Destinations
from imagerepo.flows.forwarding import scope_of
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.work import LEASE, Attempts, later, now
from imagerepo.model.caller import Caller, Protocol
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.model.task import Task, TaskKind
from imagerepo.ports.peers import Sending
from imagerepo.ports.tasks import Tasks

log = logging.getLogger(__name__)

_AT_ONCE: Final = 100  # tasks leased
_FINISH_AFTER: Final = 1.0  # seconds of sending after which what was sent is taken out: what a death sends again
_LINGER: Final = 1.0  # seconds that a way stays open for what comes next
_LOOK: Final = 0.1  # seconds
_OUT_OF_RESOURCES: Final = 0xA700  # and the 255 statuses behind it (PS3.4 Table B.2-1): a full disk, of all instances


class Forward:
    """Does the tasks of kind FORWARD; a queue is a destination, a lane a study."""

    kind = TaskKind.FORWARD

    def __init__(
        self,
        tasks: Tasks,
        attempts: Attempts,
        retrieve: Retrieve,
        destinations: Destinations,
        audit: BlockingAudit,
    ) -> None:
        self._desk = _Desk(tasks, attempts, retrieve, audit)
        self._tasks = tasks
        self._destinations = destinations

    def width(self, queue: str) -> int:
        """As many as ways may be open."""
        return self._destinations.width(queue)

    def work(self, queue: str, stop: threading.Event) -> None:
        """Send what is due, and what comes while the way is open anyway."""
        with _Way(self._destinations, queue) as way:
            idle_until = now()
            while not stop.is_set():
                batch = self._tasks.lease(self.kind, queue, now(), later(LEASE), _AT_ONCE)
                if batch:
                    if not _Batch(self._desk, batch).send(way, stop):
                        return
                    idle_until = later(_LINGER)
                elif not way.is_open or now() >= idle_until:
                    return
                else:
                    stop.wait(_LOOK)


class _Way:
    """A way to a destination, opened when there is something for it; of one institution at a time."""

    def __init__(self, destinations: Destinations, name: str) -> None:
        self._destinations = destinations
        self.name = name
        self._institution = ""
        self._stack = ExitStack()
        self._sending: Sending | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    @property
    def is_open(self) -> bool:
        return self._sending is not None

    @property
    def place(self) -> tuple[str, Protocol]:
        """Host and protocol. Raises NotFoundError."""
        return self._destinations.place(self.name)

    def open(self, institution: str, versions: Sequence[Version]) -> Sending:
        """The way that is open, or one for these."""
        if self._sending is None or self._institution != institution:
            self.close()
            kinds = dict.fromkeys((one.sop_class_uid, one.transfer_syntax) for one in versions)
            self._sending = self._stack.enter_context(self._destinations.sending(self.name, institution, tuple(kinds)))
            self._institution = institution
        return self._sending

    def close(self, error: PeerError | DamagedError | NotFoundError | None = None) -> None:
        """Open a new one next time."""
        self._sending = None
        stack, self._stack = self._stack, ExitStack()
        if error is None:
            stack.close()
        else:
            stack.__exit__(type(error), error, error.__traceback__)


@dataclass(frozen=True, slots=True)
class _Desk:
    """What it takes to do a task."""

    tasks: Tasks
    attempts: Attempts
    retrieve: Retrieve
    audit: BlockingAudit


@dataclass(slots=True)
class _Batch:
    """Tasks of one lane, being done."""

    desk: _Desk
    batch: Sequence[Task]
    done: list[int] = field(default_factory=list[int])

    def send(self, way: _Way, stop: threading.Event) -> bool:
        """Send them; whether it can go on with others."""
        try:
            found = self._look_up()
            return not found or self._send(way, found, stop)
        finally:
            self._settle()

    def _look_up(self) -> list[tuple[Task, Version]]:
        found: list[tuple[Task, Version]] = []
        for task in self.batch:
            scope = scope_of(task.institution, task.payload)
            try:
                version = self.desk.retrieve.version(scope)
                if task.attempts and self._is_superseded(scope, version):
                    raise NotFoundError("a later version has a task of its own")  # noqa: TRY301 - the same end
            except NotFoundError as error:
                log.info("forward.gone", extra={"task": task.id, "reason": str(error)})
                self.done.append(task.id)
            else:
                found.append((task, version))
        return found

    def _is_superseded(self, scope: Scope, version: Version) -> bool:
        current = Scope(scope.institution, scope.study_uid, scope.series_uid, scope.instance_uid)
        return self.desk.retrieve.version(current).number > version.number

    def _send(self, way: _Way, found: list[tuple[Task, Version]], stop: threading.Event) -> bool:
        entered = False
        finish_at = later(_FINISH_AFTER)
        for task, version in found:
            if stop.is_set():
                return False
            try:
                sending = self._open(way, [one for _, one in found])
            except ForbiddenError as error:  # of this institution
                self.desk.attempts.task_failed(task, str(error))
                continue
            except (PeerError, NotFoundError, SettingsError) as error:
                self.desk.attempts.queue_failed(TaskKind.FORWARD, way.name, str(error))
                return False
            if not entered:
                self._enter(way, version)
                entered = True
            if not self._send_one(way, sending, task, version):
                return False
            if now() >= finish_at:
                self._finish()
                finish_at = later(_FINISH_AFTER)
        return True

    def _enter(self, way: _Way, version: Version) -> None:
        """Have it in the journal who is given this study."""
        host, protocol = way.place
        caller = Caller(version.institution, f"forward:{way.name}", host, protocol, frozenset())
        self.desk.audit.read(caller, version.study_uid)

    def _open(self, way: _Way, versions: Sequence[Version]) -> Sending:
        was_open = way.is_open
        sending = way.open(self.batch[0].institution, versions)
        if not was_open:
            self.desk.attempts.queue_works(TaskKind.FORWARD, way.name)
        return sending

    def _send_one(self, way: _Way, sending: Sending, task: Task, version: Version) -> bool:
        """Send one; whether the destination is still there."""
        try:
            sent = sending.send(version)
        except NotFoundError as error:  # deleted while it waited for its turn
            way.close(error)
            self.done.append(task.id)
        except DamagedError as error:
            way.close(error)
            self.desk.attempts.task_failed(task, str(error))
        except PeerError as error:
            if error.failure is not PeerFailure.REFUSED:
                way.close(error)
                return self._lost(way, task, str(error))
            self.desk.attempts.task_failed(task, str(error))
        else:
            problem = f"status {sent.status:04X}H: {sent.comment}".removesuffix(": ")
            if sent.status & 0xFF00 == _OUT_OF_RESOURCES:
                return self._lost(way, task, problem)
            if sent.stored:
                self.done.append(task.id)
            else:
                self.desk.attempts.task_failed(task, problem)
        return True

    def _lost(self, way: _Way, task: Task, problem: str) -> bool:
        self.desk.attempts.task_kept(task, problem)
        self.desk.attempts.queue_failed(TaskKind.FORWARD, way.name, problem)
        return False

    def _finish(self) -> None:
        """Take out what is done; the rest stays ours."""
        done, self.done = self.done, []
        self.desk.tasks.finish(done)
        self.desk.tasks.extend([task.id for task in self.batch], later(LEASE))

    def _settle(self) -> None:
        done, self.done = self.done, []
        self.desk.tasks.finish(done)
        self.desk.tasks.give_back([task.id for task in self.batch])
