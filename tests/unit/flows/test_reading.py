"""flows.reading: what comes is what was stored, whether it is at hand or not, and no buffer is used too early."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator

import pytest

from imagerepo.adapters.memory import Memory, MemoryCommits, MemoryIndex, MemoryObjects
from imagerepo.errors import DamagedError
from imagerepo.flows.batches import Extent, batches
from imagerepo.flows.reading import Fill, Reader
from imagerepo.model.instance import Range, Version
from imagerepo.model.scope import Scope
from tests.harness.dicom_file import ct
from tests.harness.requests import store

FILES = [ct(number, size=400_000) for number in range(1, 9)]
WHOLE = b"".join(file.part10 for file in FILES)


class Disk(MemoryObjects):
    """Objects of which some are not at hand."""

    def __init__(self, memory: Memory, at_hand: Callable[[int], bool]) -> None:
        super().__init__(memory)
        self._at_hand = at_hand
        self._tries = 0
        self.waited = 0  # reads that had to be waited for
        self.expected: list[Range] = []

    def read_at_hand(self, where: Range, room: memoryview) -> bool:
        """As the rule says, by the number of the try."""
        self._tries += 1
        return self._at_hand(self._tries) and super().read_at_hand(where, room)

    def read_into(self, where: Range, room: memoryview) -> None:
        """Likewise."""
        self.waited += 1
        super().read_into(where, room)

    def expect(self, ranges: Iterable[Range]) -> None:
        """Remembers what is said."""
        self.expected += ranges


@pytest.fixture
def memory() -> Memory:
    memory = Memory()
    MemoryCommits(memory).commit([store(file) for file in FILES])
    return memory


def fill_from(objects: MemoryObjects) -> Fill:
    """Reads what nobody moves."""
    return lambda where, room, _: objects.read_into(where, room)


def versions(memory: Memory) -> Iterator[Version]:
    for _, version in MemoryIndex(memory).versions(Scope("default", study_uid=FILES[0].study), 0, 100):
        yield version


def reader(memory: Memory, objects: MemoryObjects) -> Reader:
    return Reader(
        objects, fill_from(objects), batches(Extent(version, 0, version.size) for version in versions(memory))
    )


async def pieces(reading: Reader) -> AsyncIterator[memoryview]:
    """What comes, each sent before the next is asked for."""
    while (piece := await reading.next()) is not None:
        yield piece[1]
        reading.sent(piece[1])


def read(reading: Reader, look: Callable[[memoryview], object]) -> None:
    async def all_() -> None:
        async for view in pieces(reading):
            look(view)

    asyncio.run(all_())


@pytest.mark.parametrize(
    "at_hand", [lambda _: True, lambda _: False, lambda number: number % 2 == 0, lambda number: number % 3 > 0]
)
def test_what_is_read_is_what_was_stored(memory: Memory, at_hand: Callable[[int], bool]) -> None:
    found = bytearray()
    read(reader(memory, Disk(memory, at_hand)), found.extend)
    assert found == WHOLE


def test_what_the_network_still_holds_is_not_written_over(memory: Memory) -> None:
    held: list[memoryview] = []  # as a transport keeps what it could not send
    read(reader(memory, Disk(memory, lambda _: False)), lambda view: held.append(memoryview(view)))
    assert b"".join(held) == WHOLE


def test_two_buffers_are_enough_however_long_the_answer(memory: Memory) -> None:
    seen: set[int] = set()
    read(reader(memory, Disk(memory, lambda _: False)), lambda view: seen.add(id(view.obj)))
    assert len(seen) <= 2


def test_after_a_miss_one_batch_is_fetched_ahead_and_no_more(memory: Memory) -> None:
    disk = Disk(memory, lambda _: False)
    count = 0

    def look(_: memoryview) -> None:
        nonlocal count
        count += 1
        assert disk.waited <= count + 1

    read(reader(memory, disk), look)
    assert count == disk.waited == len(FILES)


def test_after_a_miss_the_store_is_told_once_what_else_will_be_read(memory: Memory) -> None:
    disk = Disk(memory, lambda number: number != 3)
    read(reader(memory, disk), lambda _: None)
    ranges = [where for version in versions(memory) for where in version.copy.ranges]
    assert disk.expected == ranges[3:]


def test_while_all_is_at_hand_the_store_is_told_nothing(memory: Memory) -> None:
    disk = Disk(memory, lambda _: True)
    read(reader(memory, disk), lambda _: None)
    assert disk.expected == []


def test_small_ones_of_one_batch_are_asked_for_together() -> None:
    memory, files = Memory(), [ct(number) for number in range(1, 6)]
    MemoryCommits(memory).commit([store(file) for file in files])
    found = list(MemoryIndex(memory).versions(Scope("default", study_uid=files[0].study), 0, 100))
    disk = Disk(memory, lambda _: False)
    read(
        Reader(disk, fill_from(disk), batches(Extent(version, 0, version.size) for _, version in found)),
        lambda _: None,
    )
    assert disk.expected == [where for _, version in found for where in version.copy.ranges]


@pytest.mark.parametrize("at_hand", [True, False])
def test_damage_is_told_where_it_is_met(memory: Memory, *, at_hand: bool) -> None:
    last = list(versions(memory))[-1]
    reading = reader(memory, Disk(memory, lambda _: at_hand))
    del memory.objects[last.copy.ranges[0].key]
    sent: list[int] = []
    with pytest.raises(DamagedError):
        read(reading, lambda view: sent.append(len(view)))
    assert len(sent) == len(FILES) - 1
