"""What becomes of tasks that cannot be done, where it is not the destination that refuses them."""

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import pytest

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.adapters.memory_tasks import MemoryTasks
from imagerepo.dicomweb.sending import WebSendings
from imagerepo.errors import NotFoundError, SettingsError
from imagerepo.flows.commitment import Inspection, Reporting
from imagerepo.flows.destinations import Destinations, Ways
from imagerepo.flows.forward import Forward
from imagerepo.flows.nodes import Nodes
from imagerepo.flows.repository import Repository
from imagerepo.flows.work import Attempts, Handler
from imagerepo.model.instance import Version
from imagerepo.model.task import NewTask, TaskKind
from imagerepo.ports.peers import Sent
from imagerepo.ports.tasks import Selection
from imagerepo.settings import Retry, Settings
from imagerepo.settings_nodes import Node
from imagerepo.settings_work import Commitment
from tests.harness.in_memory import assemble
from tests.wire.retrieving import put, series

FILE = series(1)[0]
SETTINGS = Settings.model_construct(nodes=(Node(name="archive", ae_title="ARCHIVE", host="localhost"),))


class Deleted:
    """A way on which everything turns out to have been deleted."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    def send(self, version: Version) -> Sent:
        raise NotFoundError(f"{version.instance_uid} was deleted")


class Peers:
    """Opens such ways, once its settings are right."""

    def __init__(self, wrong: SettingsError | None = None) -> None:
        self._wrong = wrong

    def sending(self, *_: object, **__: object) -> Deleted:
        if self._wrong is not None:
            raise self._wrong
        return Deleted()

    def report(self, *_: object) -> int:
        raise SettingsError("nodes[].tls.ca: cannot read gone.pem")


@pytest.fixture
def repository() -> Iterator[Repository]:
    memory = Memory()
    made = assemble(Settings(), memory, MemoryCommits(memory))
    put(made, [FILE.part10])
    yield made
    made.blocking_audit.close()


def do(handler: Handler, tasks: MemoryTasks, payload: object, queue: str) -> None:
    now = datetime.now(UTC)
    tasks.add([NewTask(handler.kind, "default", queue, "lane", "name", json.dumps(payload), now)])
    handler.work(queue, threading.Event())


def forward(repository: Repository, tasks: MemoryTasks, peers: Peers) -> None:
    destinations = Destinations(SETTINGS, Nodes(SETTINGS), Ways(peers, WebSendings(repository.retrieve)))
    attempts = Attempts(tasks, Retry())
    handler = Forward(tasks, attempts, repository.retrieve, destinations, repository.blocking_audit)
    do(handler, tasks, [FILE.study, FILE.series, FILE.instance, 1], "archive")


def test_what_is_deleted_while_it_waits_for_its_turn_is_done(repository: Repository) -> None:
    tasks = MemoryTasks()
    forward(repository, tasks, Peers())
    assert not tasks.page(Selection(), 0, 10)


def test_a_wrong_setting_of_a_destination_keeps_its_queue_and_is_shown(repository: Repository) -> None:
    tasks = MemoryTasks()
    forward(repository, tasks, Peers(SettingsError("nodes[].tls.ca: cannot read gone.pem")))
    (queue,) = tasks.queues()
    assert queue.problem == "nodes[].tls.ca: cannot read gone.pem"
    assert not tasks.due(TaskKind.FORWARD, datetime.now(UTC))


def test_a_wrong_setting_of_whoever_is_reported_to_keeps_its_queue_and_is_shown(repository: Repository) -> None:
    tasks = MemoryTasks()
    inspection = Inspection(repository.retrieve, Commitment())
    handler = Reporting(tasks, Attempts(tasks, Retry()), Nodes(SETTINGS), inspection, Peers())
    asked = {"transaction": "1.2.3", "called": "IMAGEREPO", "to": "ARCHIVE", "references": []}
    do(handler, tasks, asked, "default/ARCHIVE")
    (queue,) = tasks.queues()
    assert queue.kind is TaskKind.COMMITMENT
    assert queue.problem == "nodes[].tls.ca: cannot read gone.pem"
    assert not tasks.due(TaskKind.COMMITMENT, datetime.now(UTC))
