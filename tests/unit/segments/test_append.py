"""What is appended is what is read, whatever its size and wherever it begins."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imagerepo.adapters.segments.append import PastCache

EDGES = st.sampled_from(
    [0, 1, 511, 512, 4095, 4096, 4097, (128 << 10) - 1, 128 << 10, (1 << 20) + 5, (2 << 20) + 4096]
)
SIZES = EDGES | st.integers(0, 3 << 20)


@settings(deadline=None, max_examples=40)
@given(writes=st.lists(st.lists(SIZES, min_size=1, max_size=3), min_size=1, max_size=6))
def test_appended_buffers_are_read_back(tmp_path_factory: pytest.TempPathFactory, writes: list[list[int]]) -> None:
    path = tmp_path_factory.mktemp("append") / "file"
    pattern = os.urandom(3 << 20)
    expected = bytearray()
    past_cache = PastCache()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        past_cache.open(path)
        for sizes in writes:
            buffers = [bytearray(pattern[size % 7 :][:size]) for size in sizes]
            written = past_cache.write_all(descriptor, buffers, len(expected))
            assert written == sum(map(len, buffers))
            expected += b"".join(buffers)
    finally:
        past_cache.close()
        os.close(descriptor)
    assert path.read_bytes() == expected
