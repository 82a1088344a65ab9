"""What is appended is what is read, whatever its size and wherever it begins."""

import os
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagerepo.adapters.segments.append import AppendFile, Stages

EDGES = st.sampled_from(
    [0, 1, 511, 512, 4095, 4096, 4097, (128 << 10) - 1, 128 << 10, (1 << 20) + 5, (2 << 20) + 4096]
)
SIZES = EDGES | st.integers(0, 3 << 20)
PATTERN = os.urandom(3 << 20)


@settings(deadline=None, max_examples=40)
@given(writes=st.lists(st.lists(SIZES, min_size=1, max_size=3), min_size=1, max_size=6))
def test_appended_buffers_are_read_back(tmp_path_factory: pytest.TempPathFactory, writes: list[list[int]]) -> None:
    path = tmp_path_factory.mktemp("append") / "file"
    file = AppendFile(path, Stages())
    expected = bytearray()
    for sizes in writes:
        buffers = [bytearray(PATTERN[size % 7 :][:size]) for size in sizes]
        file.write_all(buffers, len(expected))
        expected += b"".join(buffers)
    assert path.read_bytes() == expected


def test_threads_that_write_side_by_side_do_not_hurt_each_other(tmp_path: Path) -> None:
    dice = random.Random(7)
    path = tmp_path / "file"
    file = AppendFile(path, Stages())
    expected = bytearray()
    parts: list[tuple[bytes, int]] = []
    for _ in range(400):
        part = PATTERN[dice.randrange(4096) :][: dice.choice((40, 3000, 130_000, 140_001, 600_000))]
        parts.append((part, len(expected)))
        expected += part

    def write(one: tuple[bytes, int]) -> None:
        part, offset = one
        file.write_all([part], offset)
        assert os.pread(file.descriptor, len(part), offset) == part  # brings it into the cache, beside the next write

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, parts))
    assert path.read_bytes() == expected
