"""Whoever asks for storage commitment is told, however often it has to ask."""

import json
import threading
from datetime import UTC, datetime

import pytest

from imagerepo.adapters.memory import Memory, MemoryIndex, MemoryObjects
from imagerepo.adapters.memory_tasks import MemoryTasks
from imagerepo.flows.commitment import Commitments, Inspection, Reporting
from imagerepo.flows.nodes import Nodes
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.work import Attempts
from imagerepo.model.caller import Caller, Protocol
from imagerepo.model.commitment import Failure, Reference, Report, Transaction
from imagerepo.model.task import NewTask, Task, TaskKind, TaskState
from imagerepo.model.uids import Uid
from imagerepo.ports.tasks import Selection
from imagerepo.settings import Retry, Settings
from imagerepo.settings_nodes import Node
from imagerepo.settings_work import Commitment

CALLER = Caller("default", "ae:CT1", "127.0.0.1", Protocol.DIMSE, frozenset())
ASKED = Transaction(Uid("1.2.3"), [Reference(Uid("1.2.840.10008.5.1.4.1.1.2"), Uid("1.2.3.4"))])
NODES = Nodes(Settings.model_construct(nodes=(Node(name="ct1", ae_title="CT1", host="localhost"),)))


class Unreachable:
    """Reporters that nobody may ask."""

    def report(self, *_: object) -> int:
        raise AssertionError


class SetLater(threading.Event):
    """Not set when it is asked first."""

    def is_set(self) -> bool:
        before = super().is_set()
        self.set()
        return before


@pytest.fixture
def tasks() -> MemoryTasks:
    return MemoryTasks()


@pytest.fixture
def inspection() -> Inspection:
    memory = Memory()
    return Inspection(Retrieve(MemoryIndex(memory), MemoryObjects(memory)), Commitment())


@pytest.fixture
def commitments(tasks: MemoryTasks, inspection: Inspection) -> Commitments:
    return Commitments(tasks, NODES, inspection, Commitment())


def only(tasks: MemoryTasks) -> Task:
    (one,) = tasks.page(Selection(), 0, 10)
    return one


def test_a_report_that_was_given_up_begins_anew_when_it_is_asked_for_again(
    commitments: Commitments, tasks: MemoryTasks
) -> None:
    commitments.take(CALLER, "CT1", "IMAGEREPO", ASKED)
    tasks.park(only(tasks).id, "refused")
    commitments.take(CALLER, "CT1", "IMAGEREPO", ASKED)
    assert (only(tasks).state, only(tasks).attempts) == (TaskState.WAITING, 0)


def test_a_report_that_waits_is_asked_for_once(commitments: Commitments, tasks: MemoryTasks) -> None:
    commitments.take(CALLER, "CT1", "IMAGEREPO", ASKED)
    before = only(tasks)
    commitments.take(CALLER, "CT1", "IMAGEREPO", ASKED)
    assert only(tasks) == before


def test_an_instance_that_is_asked_for_many_times_is_read_once_and_answered_each_time(inspection: Inspection) -> None:
    looks: list[None] = []
    (asked,) = ASKED.references
    other = Reference(asked.sop_class_uid, Uid("1.2.3.5"))
    references = [asked, other, asked, asked]
    report = inspection.inspect("default", Transaction(ASKED.uid, references), lambda: looks.append(None))
    assert report == Report(ASKED.uid, [], [(one, Failure.NO_SUCH_INSTANCE) for one in references])
    assert len(looks) == 2


def test_a_report_is_left_for_the_next_process_when_this_one_is_told_to_stop(
    inspection: Inspection, tasks: MemoryTasks
) -> None:
    asked = {"transaction": "1.2.3", "called": "IMAGEREPO", "to": "CT1", "references": [["1.2", "1.2.3.4"]]}
    now = datetime.now(UTC)
    tasks.add([NewTask(TaskKind.COMMITMENT, "default", "default/CT1", "1.2.3", "1.2.3", json.dumps(asked), now)])
    Reporting(tasks, Attempts(tasks, Retry()), NODES, inspection, Unreachable()).work("default/CT1", SetLater())
    assert only(tasks).attempts == 0
    assert tasks.due(TaskKind.COMMITMENT, datetime.now(UTC))
