"""Stored data sets as P-DATA: every byte once, in PDUs that the peer takes, whatever their sizes."""

import random
import struct
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.adapters.memory import Memory, MemoryCommits, MemoryObjects
from imagerepo.dimse.outgoing import BATCH, LENT, DataSets
from imagerepo.dimse.pdu import Framing
from imagerepo.errors import DamagedError, NotFoundError
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Range, Version
from imagerepo.model.scope import Scope
from imagerepo.settings import Settings
from tests.harness.dicom_file import data_set_of
from tests.harness.in_memory import assemble
from tests.wire.retrieving import put, series

FILE = series(1, size=2_000_000)[0]


@pytest.fixture(scope="module")
def stored() -> tuple[Retrieve, Version]:
    memory = Memory()
    repository = assemble(Settings(), memory, MemoryCommits(memory))
    put(repository, [FILE.part10])
    return repository.retrieve, memory.instances["default", FILE.instance].current[0]


def values(pdus: bytes, context_id: int, max_length: int) -> Iterator[bytes]:
    """The fragments in a stream of PDUs, which are checked on the way."""
    at = 0
    while at < len(pdus):
        kind, length, inner, context, control = struct.unpack_from(">BxIIBB", pdus, at)
        assert kind == 4
        assert not max_length or length <= max_length
        assert inner == length - 4
        assert context == context_id
        assert control == (2 if at + 6 + length == len(pdus) else 0)
        yield pdus[at + 12 : at + 6 + length]
        at += 6 + length


def sent(data_sets: DataSets, version: Version, framing: Framing) -> bytes:
    return b"".join(bytes(one) for batch in data_sets(version).fragments(framing) for one in batch)


def shortened(version: Version, size: int) -> Version:
    """The same with a data set of so many bytes."""
    return replace(version, size=version.layout.data_set_offset + size)


@given(
    size=st.one_of(
        st.integers(1, 2_000_000), st.sampled_from([16378, 2 * 16378, BATCH - 6, BATCH, BATCH + 1, 2 * BATCH])
    ),
    max_length=st.one_of(st.just(0), st.integers(4096, 3 << 20), st.sampled_from([16384, 16382, BATCH, BATCH + 6])),
    context_id=st.sampled_from([1, 3, 255]),
    lent=st.booleans(),
)
def test_every_byte_is_sent_once_in_pdus_of_the_peers_size(
    stored: tuple[Retrieve, Version], size: int, max_length: int, context_id: int, *, lent: bool
) -> None:
    retrieve, version = stored
    framing = Framing(context_id, max_length, lent)
    fragments = list(values(sent(DataSets(retrieve), shortened(version, size), framing), context_id, max_length))
    assert b"".join(fragments) == data_set_of(FILE.part10)[:size]
    assert all(len(one) % 2 == 0 for one in fragments[:-1])


def test_a_room_is_used_again_for_another_context_and_size(stored: tuple[Retrieve, Version]) -> None:
    retrieve, version = stored
    data_sets = DataSets(retrieve)
    chosen = random.Random(1)
    for _ in range(50):
        size, max_length = chosen.randrange(1, 2_000_000), chosen.choice((0, 4096, 16384, 262144))
        context_id = chosen.choice((1, 3))
        pdus = sent(data_sets, shortened(version, size), Framing(context_id, max_length, takes_lent=False))
        assert b"".join(values(pdus, context_id, max_length)) == data_set_of(FILE.part10)[:size]


def test_threads_that_send_at_once_do_not_share_a_room(stored: tuple[Retrieve, Version]) -> None:
    retrieve, version = stored
    data_sets = DataSets(retrieve)
    wrong: list[int] = []

    def send(context_id: int) -> None:
        for _ in range(10):
            pdus = sent(data_sets, version, Framing(context_id, 16384, takes_lent=False))
            if b"".join(values(pdus, context_id, 16384)) != data_set_of(FILE.part10):
                wrong.append(context_id)

    threads = [threading.Thread(target=send, args=(number,)) for number in (1, 3, 5, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_lent_piece_by_piece_is_whole() -> None:
    memory = Memory()
    repository = assemble(Settings(), memory, MemoryCommits(memory))
    large = series(1, size=LENT + 300_001)[0]
    put(repository, [large.part10])
    version = memory.instances["default", large.instance].current[0]
    for max_length in (0, 4096, 262144):
        pdus = sent(DataSets(repository.retrieve), version, Framing(1, max_length, takes_lent=True))
        assert b"".join(values(pdus, 1, max_length)) == data_set_of(large.part10)


@pytest.mark.parametrize("lent", [False, True])
def test_bytes_that_are_not_there_are_an_error_before_anything_is_sent(
    stored: tuple[Retrieve, Version], *, lent: bool
) -> None:
    retrieve, version = stored
    (where,) = version.copy.ranges
    gone = replace(version, copy=replace(version.copy, ranges=(Range(where.store, "gone", 0, where.length),)))
    with pytest.raises(DamagedError):
        next(DataSets(retrieve)(gone).fragments(Framing(1, 16384, lent)))


class Reclaiming(MemoryObjects):
    """Bytes of what is deleted are given back at once."""

    def __init__(self, memory: Memory) -> None:
        super().__init__(memory)
        self._gone = memory.gone

    def generation(self) -> int:
        return len(self._gone)


@pytest.fixture
def doomed() -> tuple[Memory, DataSets, Version]:
    memory = Memory()
    repository = assemble(Settings(), memory, MemoryCommits(memory))
    data_sets = DataSets(Retrieve(repository.index, Reclaiming(memory)))
    put(repository, [FILE.part10])
    return memory, data_sets, repository.index.version(Scope("default", FILE.study, FILE.series, FILE.instance))


def delete(memory: Memory) -> None:
    del memory.instances["default", FILE.instance]
    memory.gone["default", FILE.instance] = 1


@pytest.mark.parametrize("lent", [False, True])
def test_what_was_deleted_while_it_is_sent_goes_no_further(
    doomed: tuple[Memory, DataSets, Version], *, lent: bool
) -> None:
    memory, data_sets, version = doomed
    fragments = data_sets(version).fragments(Framing(1, 16384, lent))
    next(fragments)
    delete(memory)
    with pytest.raises(NotFoundError):
        next(fragments)


@pytest.mark.parametrize("lent", [False, True])
def test_what_was_deleted_while_it_waited_for_its_turn_is_not_sent(
    doomed: tuple[Memory, DataSets, Version], *, lent: bool
) -> None:
    memory, data_sets, version = doomed
    delete(memory)
    with pytest.raises(NotFoundError):
        next(data_sets(version).fragments(Framing(1, 16384, lent)))


class Shortened(MemoryObjects):
    """Files that lost their end."""

    def __init__(self, memory: Memory, left: int) -> None:
        super().__init__(memory)
        self.left = left  # bytes

    def lend(self, where: Range) -> memoryview | None:
        held = super().lend(where)
        return None if held is not None and where.offset + where.length > self.left else held

    def read(self, where: Range) -> bytes:
        if where.offset + where.length > self.left:
            raise DamagedError("it ends early")
        return super().read(where)


@pytest.mark.parametrize("lent", [False, True])
def test_of_an_image_whose_end_is_missing_nothing_is_sent(*, lent: bool) -> None:
    memory = Memory()
    repository = assemble(Settings(), memory, MemoryCommits(memory))
    image = series(1, size=600_000)[0]
    put(repository, [image.part10])
    version = repository.index.version(Scope("default", image.study, image.series, image.instance))
    data_sets = DataSets(Retrieve(repository.index, Shortened(memory, version.size - 100)))
    with pytest.raises(DamagedError):
        next(data_sets(version).fragments(Framing(1, 0, lent)))
