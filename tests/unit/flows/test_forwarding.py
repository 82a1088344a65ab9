"""What becomes a task, and from when on."""

from pathlib import Path

import pytest

from imagerepo.adapters.memory_tasks import MemoryTasks
from imagerepo.adapters.segments.feed import SegmentFeed
from imagerepo.dicomweb.sending import WebSendings
from imagerepo.dimse.client.storing import DimsePeers
from imagerepo.dimse.outgoing import DataSets
from imagerepo.flows import forwarding
from imagerepo.flows.destinations import Destinations, Ways
from imagerepo.flows.forwarding import FOLLOWER, Forwarding
from imagerepo.flows.metadata import Metadata
from imagerepo.flows.nodes import Nodes
from imagerepo.flows.retrieve import Retrieve
from imagerepo.flows.rules import Rules
from imagerepo.ports.tasks import Selection
from imagerepo.settings import Settings
from imagerepo.settings_nodes import Node
from imagerepo.settings_work import Rule
from tests.harness.archive import Archive, in_segments
from tests.harness.dicom_file import ct
from tests.harness.requests import store

RULES = Rules((Rule(name="all", to="ARCHIVE"),))
NONE = Rules(())


class Desk:
    """Forwarding over one archive."""

    def __init__(self, archive: Archive, data: Path, tasks: MemoryTasks, institutions: tuple[str, ...] = ()) -> None:
        node = Node(name="ARCHIVE", ae_title="ARCHIVE", host="localhost", institutions=institutions)
        settings = Settings.model_construct(nodes=(node,))
        retrieve = Retrieve(archive.index, archive.objects)
        self.feed = SegmentFeed(data)
        self.tasks = tasks
        self._destinations = Destinations(
            settings, Nodes(settings), Ways(DimsePeers(DataSets(retrieve)), WebSendings(retrieve))
        )
        self._forwarding = Forwarding(self.feed, tasks, Metadata(retrieve, archive.cache), retrieve)

    def begin(self, rules: Rules) -> None:
        forwarding.begin(self.tasks, self.feed, rules)

    def look(self, rules: Rules) -> list[str]:
        """All that waits to be sent now."""
        while self._forwarding.look(rules, self._destinations):
            pass
        return [one.name for one in self.tasks.page(Selection(), 0, 1000)]


@pytest.fixture
def archive(tmp_path: Path):
    with in_segments(tmp_path / "data") as opened:
        yield opened


def name(number: int, institution: str = "default") -> str:
    return f"{institution}/{ct(number).instance}/1"


def test_what_came_before_the_first_look_is_sent_if_there_were_rules_at_the_start(
    archive: Archive, tmp_path: Path
) -> None:
    desk = Desk(archive, tmp_path / "data", MemoryTasks())
    desk.begin(RULES)
    archive.commits.commit([store(ct(1))])
    assert desk.look(RULES) == [name(1)]


def test_what_came_while_there_were_no_rules_is_not_sent_once_there_are(archive: Archive, tmp_path: Path) -> None:
    tasks = MemoryTasks()
    desk = Desk(archive, tmp_path / "data", tasks)
    desk.begin(NONE)
    archive.commits.commit([store(ct(1))])
    assert desk.look(NONE) == []
    archive.commits.commit([store(ct(2))])  # rules are read again while this comes
    assert desk.look(RULES) == [name(2)]
    archive.commits.commit([store(ct(3))])
    assert desk.look(NONE) == [name(2)]
    assert tasks.followed(FOLLOWER) is None
    archive.commits.commit([store(ct(4))])
    assert desk.look(RULES) == [name(2), name(4)]


def test_one_that_stands_in_for_a_dead_process_goes_on_where_that_was(archive: Archive, tmp_path: Path) -> None:
    tasks = MemoryTasks()
    first = Desk(archive, tmp_path / "data", tasks)
    first.begin(RULES)
    archive.commits.commit([store(ct(1))])
    assert first.look(RULES) == [name(1)]
    tasks.finish([one.id for one in tasks.page(Selection(), 0, 10)])
    archive.commits.commit([store(ct(2))])
    archive.other.commit([store(ct(3))])
    assert sorted(Desk(archive, tmp_path / "data", tasks).look(RULES)) == [name(2), name(3)]


def test_an_institution_s_instances_become_no_task_where_they_may_not_go(archive: Archive, tmp_path: Path) -> None:
    desk = Desk(archive, tmp_path / "data", MemoryTasks(), institutions=("other",))
    desk.begin(RULES)
    archive.commits.commit([store(ct(1)), store(ct(2), "other")])
    assert desk.look(RULES) == [name(2, "other")]


def test_of_two_that_follow_at_the_same_time_one_makes_the_task(archive: Archive, tmp_path: Path) -> None:
    tasks = MemoryTasks()
    desks = [Desk(archive, tmp_path / "data", tasks) for _ in range(2)]
    for desk in desks:
        desk.begin(RULES)
        assert desk.look(RULES) == []
    for number in range(1, 5):
        archive.commits.commit([store(ct(number))])
        first, second = desks if number % 2 else reversed(desks)
        assert first.look(RULES) == [name(number)]
        tasks.finish([one.id for one in tasks.page(Selection(), 0, 10)])  # done before the other looks
        assert second.look(RULES) == []
