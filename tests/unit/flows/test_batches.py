"""flows.batches: every byte once, in order, in buffers of bounded size."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.adapters.memory import Memory, MemoryCommits, MemoryIndex
from imagerepo.flows.batches import PIECE, Batch, Extent, Part, batches, piece, ranges_of
from imagerepo.model.instance import Copy, Range, Version
from imagerepo.model.scope import Scope
from imagerepo.model.uids import Uid
from tests.harness.dicom_file import ct
from tests.harness.requests import store


@pytest.fixture(scope="module")
def version() -> Version:
    memory = Memory()
    MemoryCommits(memory).commit([store(ct(1))])
    return MemoryIndex(memory).version(Scope("default", instance_uid=Uid(ct(1).instance)))


def of_ranges(version: Version, *lengths: int) -> Version:
    """A version that lies in so many pieces of one object, with gaps."""
    ranges = [Range("memory", "one", number << 32, length) for number, length in enumerate(lengths)]
    return replace(version, size=sum(lengths), copy=Copy(tuple(ranges), version.copy.tier))


def places(batch: Batch) -> list[tuple[int, int | bytes, int]]:
    """What a buffer holds, in order: where, what, how many bytes."""
    texts: list[tuple[int, int | bytes, int]] = [(at, text, len(text)) for at, text in batch.texts]
    return sorted([*texts, *((at, where.offset, where.length) for at, where in batch.ranges)], key=lambda one: one[0])


def flat(planned: list[Batch]) -> list[int | bytes]:
    """Text as it is, and the first and last offset of bytes that follow each other."""
    joined: list[int | bytes] = []
    for batch in planned:
        for _, what, length in places(batch):
            if isinstance(what, bytes):
                joined.append(what)
            elif joined and joined[-1] == what:
                joined[-1] = what + length
            else:
                joined += [what, what + length]
    return joined


@given(
    lengths=st.lists(st.integers(1, 3 * PIECE), min_size=1, max_size=4),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.binary(max_size=40)), max_size=6),
    answers=st.integers(0, 1000),
)
def test_every_byte_stands_once_and_in_order(
    version: Version, lengths: list[int], cuts: list[tuple[float, float, bytes]], answers: int
) -> None:
    most = piece(answers)
    whole = of_ranges(version, *lengths)
    parts: list[Part] = []
    wanted: list[Batch] = []
    for first, last, text in cuts:
        start, end = sorted((int(first * whole.size), int(last * whole.size)))
        parts += [text, Extent(whole, start, end - start)]
        wanted.append(Batch(0, [(0, text)] if text else []))
        wanted.append(Batch(0, [], [(n, where) for n, where in enumerate(ranges_of(whole, start, end - start))]))
    planned = list(batches((part for part in parts if part != b""), lambda: most))
    assert flat(planned) == flat(wanted)
    for batch in planned:
        assert 0 < batch.size <= most + sum(len(text) for _, text in batch.texts)
        assert sum(batch.stored.values()) == sum(where.length for _, where in batch.ranges)
        at = 0
        for place, _, length in places(batch):
            assert place == at
            at += length
        assert at == batch.size


def test_the_more_answers_the_smaller_their_buffers() -> None:
    assert piece(0) == piece(8) == PIECE
    sizes = [piece(answers) for answers in range(1, 2000)]
    assert sizes == sorted(sizes, reverse=True)
    assert max(size * answers for answers, size in enumerate(sizes[:300], 1)) <= 12 << 20


def test_an_image_of_the_usual_size_is_not_cut_and_small_ones_share_a_buffer(version: Version) -> None:
    usual, small = of_ranges(version, 527_000), of_ranges(version, 20_000)
    large = [Extent(usual, 0, usual.size)] * 3
    assert [len(batch.ranges) for batch in batches([b"head", *large])] == [1, 1, 1]
    assert len(list(batches([Extent(small, 0, small.size)] * 30))) == 1
