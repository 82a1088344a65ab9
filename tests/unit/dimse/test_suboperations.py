"""What became of sub-operations, as the requestor is told."""

from dataclasses import replace

import pytest

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.dimse.messages import Element
from imagerepo.dimse.suboperations import Tally
from imagerepo.model.instance import Version
from imagerepo.model.uids import Uid
from imagerepo.ports.peers import Sent
from imagerepo.settings import Settings
from tests.harness.in_memory import assemble
from tests.wire.retrieving import put, series


@pytest.fixture(scope="module")
def version() -> Version:
    memory = Memory()
    put(assemble(Settings(), memory, MemoryCommits(memory)), [series(1)[0].part10])
    ((found, _),) = [one.current for one in memory.instances.values()]
    return found


@pytest.mark.parametrize(
    ("statuses", "status"),
    [
        ((), 0x0000),
        ((0x0000, 0x0000), 0x0000),
        ((0x0000, 0xB000), 0xB000),
        ((0xB000, 0xB007), 0xB000),
        ((0x0000, 0xA700), 0xB000),
        ((0xB000, 0xC000), 0xB000),
        ((0xA700, 0xC000), 0xA702),
        ((0x0110,), 0xA702),
    ],
)
def test_the_final_status_tells_whether_all_some_or_none_succeeded(
    version: Version, statuses: tuple[int, ...], status: int
) -> None:
    tally = Tally(len(statuses))
    for one in statuses:
        tally.add(version, Sent(one, ""))
    assert tally.final_status == status


def test_counts_add_up_to_the_total(version: Version) -> None:
    tally = Tally(10)
    for status in (0, 0, 0, 0xB000, 0xB006, 0xA900):
        tally.add(version, Sent(status, "no room"))
    assert tally.counts_with_remaining() == {
        Element.COMPLETED_SUBOPERATIONS: 3,
        Element.WARNING_SUBOPERATIONS: 2,
        Element.FAILED_SUBOPERATIONS: 1,
        Element.REMAINING_SUBOPERATIONS: 4,
    }
    assert Element.REMAINING_SUBOPERATIONS not in tally.counts()
    assert tally.problem == "status A900 no room"


def test_counts_and_failed_uids_stop_at_what_a_response_holds(version: Version) -> None:
    tally = Tally(200_000)
    for number in range(70_000):
        tally.fail(replace(version, instance_uid=Uid(f"1.2.{number}")), "gone")
    counts = tally.counts_with_remaining()
    assert counts[Element.FAILED_SUBOPERATIONS] == 0xFFFF
    assert counts[Element.REMAINING_SUBOPERATIONS] == 0xFFFF
    assert len(tally.failed_uids) == 0xFFFF


def test_more_than_was_counted_leaves_nothing_remaining(version: Version) -> None:
    tally = Tally(1)
    for _ in range(3):
        tally.add(version, Sent(0, ""))
    assert tally.counts_with_remaining()[Element.REMAINING_SUBOPERATIONS] == 0
