"""Storage Commitment: asked for, found out, reported until the asker knows (PS3.4 Annex J).

A request is a task before it is answered, so that its report comes whatever happens to us. What is reported is found
out at each attempt: it is what is on the disk then.
"""

import json
import logging
import threading
from collections.abc import Callable
from typing import Final

from imagerepo.errors import DamagedError, NotFoundError, PeerError, SettingsError
from imagerepo.flows.nodes import Nodes
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.work import LEASE, Attempts, later, now
from imagerepo.model import checksum
from imagerepo.model.caller import Caller
from imagerepo.model.commitment import Failure, Reference, Report, Transaction
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.model.task import NewTask, Task, TaskKind, TaskState
from imagerepo.model.uids import Uid
from imagerepo.ports.reporters import Reporters
from imagerepo.ports.tasks import Selection, Tasks
from imagerepo.settings import Commitment as Settings

log = logging.getLogger(__name__)

_PIECE: Final = 4 << 20  # bytes read at a time


class Inspection:
    """Finds out what is on the disk. Safe to call from any number of threads."""

    def __init__(self, retrieve: Retrieve, settings: Settings) -> None:
        self._retrieve = retrieve
        self._settings = settings

    def inspect(self, institution: str, transaction: Transaction, look: Callable[[], object]) -> Report:
        """What of it is there; blocks, as long as it takes to read all of it, each instance once.

        Args:
            institution: whose instances.
            transaction: what is asked.
            look: called before each instance is read; what it raises ends the inspection.

        Raises:
            UnavailableError: the index cannot be asked.
        """
        failures: dict[Reference, Failure | None] = {}
        for reference in dict.fromkeys(transaction.references):
            look()
            failures[reference] = self._failure(institution, reference)
        self._retrieve.settle()
        committed: list[Reference] = []
        failed: list[tuple[Reference, Failure]] = []
        for reference in transaction.references:
            failure = failures[reference]
            if failure is None:
                committed.append(reference)
            else:
                failed.append((reference, failure))
        return Report(transaction.uid, committed, failed)

    def _failure(self, institution: str, reference: Reference) -> Failure | None:
        try:
            version = self._retrieve.version(Scope(institution, instance_uid=reference.instance_uid))
            if version.sop_class_uid != reference.sop_class_uid:
                return Failure.CLASS_CONFLICT
            return None if self._is_there(version) else Failure.PROCESSING_FAILURE
        except NotFoundError:
            return Failure.NO_SUCH_INSTANCE
        except (DamagedError, OSError) as error:
            log.error("commitment.damaged", extra={"instance": reference.instance_uid, "reason": str(error)})  # noqa: TRY400 - the reason says all
            return Failure.PROCESSING_FAILURE

    def _is_there(self, version: Version) -> bool:
        if self._settings.checks == "presence":
            last = max(0, version.size - 1)
            return len(self._retrieve.read(version, last, 1)) == min(1, version.size)
        crc32 = 0
        for offset in range(0, version.size, _PIECE):
            crc32 = checksum.crc32(self._retrieve.read(version, offset, min(_PIECE, version.size - offset)), crc32)
        return crc32 == version.crc32


class Commitments:
    """Takes requests. Safe to call from any number of threads and processes."""

    def __init__(self, tasks: Tasks, nodes: Nodes, inspection: Inspection, settings: Settings) -> None:
        self._tasks = tasks
        self._nodes = nodes
        self._inspection = inspection
        self._same_association = frozenset(settings.same_association)

    def take(self, caller: Caller, ae_title: str, called: str, transaction: Transaction) -> None:
        """Have it reported to `ae_title`; when this returns, it will be. Raises UnavailableError.

        The same transaction, asked for again before it was reported, is one; reports that were given up begin anew.
        """
        asked = [[one.sop_class_uid, one.instance_uid] for one in transaction.references]
        payload = {"transaction": transaction.uid, "called": called, "to": ae_title, "references": asked}
        # Whoever is told on its own association has it as long as a lease; if nothing comes of that, it is called.
        at_once = self.calls(ae_title, caller.institution)
        task = NewTask(
            kind=TaskKind.COMMITMENT,
            institution=caller.institution,
            queue=queue_of(caller.institution, ae_title),
            lane=transaction.uid,
            name=transaction.uid,
            payload=json.dumps(payload),
            due_at=now() if at_once else later(LEASE),
        )
        self._tasks.add([task])
        self._tasks.retry(Selection(TaskKind.COMMITMENT, task.queue, TaskState.PARKED, name=task.name))

    def calls(self, ae_title: str, institution: str) -> bool:
        """Whether it is told over an association of ours: it can be called, and does not want to be told otherwise."""
        if ae_title in self._same_association:
            return False
        try:
            self._nodes.destination(ae_title, institution)
        except NotFoundError:
            return False
        return True

    def inspect(self, institution: str, transaction: Transaction, look: Callable[[], object]) -> Report:
        """What there is to report, as Inspection.inspect."""
        return self._inspection.inspect(institution, transaction, look)

    def reported(self, institution: str, ae_title: str, transaction: Transaction) -> None:
        """The asker knows. Raises UnavailableError."""
        found = Selection(TaskKind.COMMITMENT, queue_of(institution, ae_title), name=transaction.uid)
        self._tasks.drop(found)


def queue_of(institution: str, ae_title: str) -> str:
    """The queue of what is reported to an application entity."""
    return f"{institution}/{ae_title}"


class _ToldToStopError(Exception):
    """The process ends: the task is for the next one."""


class Reporting:
    """Does the tasks of kind COMMITMENT; a queue is an asker, a lane a transaction."""

    kind = TaskKind.COMMITMENT

    def __init__(
        self, tasks: Tasks, attempts: Attempts, nodes: Nodes, inspection: Inspection, reporters: Reporters
    ) -> None:
        self._tasks = tasks
        self._attempts = attempts
        self._nodes = nodes
        self._inspection = inspection
        self._reporters = reporters

    def width(self, queue: str) -> int:  # noqa: ARG002 - every queue has the same
        """One after another."""
        return 1

    def work(self, queue: str, stop: threading.Event) -> None:
        """Report what is due."""
        while not stop.is_set():
            batch = self._tasks.lease(self.kind, queue, now(), later(LEASE), 1)
            if not batch:
                return
            try:
                self._report(batch[0], stop)
            except _ToldToStopError:
                self._tasks.give_back([batch[0].id])
                return
            except (PeerError, SettingsError) as error:
                self._attempts.queue_failed(self.kind, queue, str(error))
                self._tasks.give_back([batch[0].id])
                return
            except NotFoundError as error:
                self._attempts.task_failed(batch[0], str(error))

    def _report(self, task: Task, stop: threading.Event) -> None:
        def look() -> None:
            if stop.is_set():
                raise _ToldToStopError

        asked = json.loads(task.payload)
        peer = self._nodes.destination(asked["to"], task.institution)
        references = [Reference(Uid(sop_class), Uid(instance)) for sop_class, instance in asked["references"]]
        report = self._inspection.inspect(task.institution, Transaction(asked["transaction"], references), look)
        # By the name that the asker knows us by, unless the node says otherwise.
        status = self._reporters.report(peer, peer.calling_ae_title or asked["called"], report)
        self._attempts.queue_works(self.kind, task.queue)
        if status == 0:
            log.info("commitment.reported", extra={"task": task.id, "failed": len(report.failed)})
            self._tasks.finish([task.id])
        else:
            self._attempts.task_failed(task, f"{peer} answered the report with status {status:04X}H")
