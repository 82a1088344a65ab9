"""Whoever asks for storage commitment is told, however often it has to ask."""

import pytest

from imagerepo.adapters.memory import Memory, MemoryIndex, MemoryObjects
from imagerepo.adapters.memory_tasks import MemoryTasks
from imagerepo.flows.commitment import Commitments, Inspection
from imagerepo.flows.nodes import Nodes
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.caller import Caller, Protocol
from imagerepo.model.commitment import Reference, Transaction
from imagerepo.model.task import Task, TaskState
from imagerepo.model.uids import Uid
from imagerepo.ports.tasks import Selection
from imagerepo.settings import Settings
from imagerepo.settings_nodes import Node
from imagerepo.settings_work import Commitment

CALLER = Caller("default", "ae:CT1", "127.0.0.1", Protocol.DIMSE, frozenset())
ASKED = Transaction(Uid("1.2.3"), [Reference(Uid("1.2.840.10008.5.1.4.1.1.2"), Uid("1.2.3.4"))])


@pytest.fixture
def tasks() -> MemoryTasks:
    return MemoryTasks()


@pytest.fixture
def commitments(tasks: MemoryTasks) -> Commitments:
    memory = Memory()
    inspection = Inspection(Retrieve(MemoryIndex(memory), MemoryObjects(memory)), Commitment())
    nodes = Nodes(Settings.model_construct(nodes=(Node(name="ct1", ae_title="CT1", host="localhost"),)))
    return Commitments(tasks, nodes, inspection, Commitment())


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
