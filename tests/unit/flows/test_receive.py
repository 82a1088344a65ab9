"""Receiving one file: bounded memory, whatever is sent at once."""

import pytest

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.errors import TooLargeError
from imagerepo.flows.ingest.receive import Budget, Receiver
from imagerepo.model.arrival import InMemory

KIB = 1024


def receiver(budget: Budget, *, in_memory: int = 1024 * KIB, limit: int = 1 << 30, prefix: bytes = b"") -> Receiver:
    return Receiver(MemoryCommits(Memory()), budget, in_memory=in_memory, limit=limit, prefix=prefix)


def test_a_small_file_stays_in_memory_with_its_prefix_apart() -> None:
    with receiver(Budget(1 << 20), prefix=b"head") as one:
        one.write(b"ab")
        one.write(memoryview(b"cd"))
        payload = one.payload()
        assert isinstance(payload, InMemory)
        assert [bytes(buffer) for buffer in payload.buffers] == [b"head", b"abcd"]
        assert payload.size == 8


def test_a_large_file_goes_where_it_will_stay_in_order() -> None:
    with receiver(Budget(1 << 30), in_memory=100 * KIB, prefix=b"head") as one:
        for number in range(4):
            one.write(bytes([number]) * 50 * KIB)
        payload = one.payload()
        assert not isinstance(payload, InMemory)
        assert payload.size == 4 + 200 * KIB
        assert payload.read(0, 5) == b"head\0"
        assert payload.read(4 + 150 * KIB, 1) == b"\3"


def test_when_the_budget_is_spent_the_next_file_is_not_held_in_memory() -> None:
    budget = Budget(300 * KIB)
    with receiver(budget) as first, receiver(budget) as second:
        first.write(bytes(250 * KIB))
        second.write(bytes(100 * KIB))
        assert isinstance(first.payload(), InMemory)
        assert not isinstance(second.payload(), InMemory)


def test_the_budget_is_whole_again_when_all_have_left() -> None:
    budget = Budget(1 << 20)
    for _ in range(20):
        with receiver(budget) as one:
            for _ in range(13):
                one.write(bytes(50 * KIB))
    assert budget.take(1 << 20)


def test_a_file_above_the_limit_is_refused_by_the_setting_s_name() -> None:
    with receiver(Budget(1 << 20), limit=100) as one, pytest.raises(TooLargeError, match="instance_size_limit"):
        one.write(bytes(101))
