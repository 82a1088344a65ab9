"""Data sets leave as PDUs of what the peer takes, every byte once, the last fragment marked."""

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.dimse.client.data import Bytes, FileData
from imagerepo.dimse.pdu import Framing
from imagerepo.errors import DamagedError


def fragments(stream: bytes) -> list[tuple[int, int, bytes]]:
    """Context, control and value of each PDV; every PDU has one."""
    found = []
    while stream:
        kind, length, item, context, control = struct.unpack_from(">BxIIBB", stream)
        assert (kind, item) == (4, length - 4)
        found.append((context, control, stream[12 : 6 + length]))
        stream = stream[6 + length :]
    return found


def sent(data: Bytes | FileData, max_length: int) -> list[tuple[int, int, bytes]]:
    return fragments(
        b"".join(
            bytes(part) for buffers in data.fragments(Framing(7, max_length, takes_lent=False)) for part in buffers
        )
    )


@given(st.binary(min_size=2, max_size=3000), st.integers(32, 1000))
def test_a_data_set_in_memory_arrives_whole(data: bytes, max_length: int) -> None:
    found = sent(Bytes(data), max_length)
    assert b"".join(value for _, _, value in found) == data
    assert max(len(value) for _, _, value in found) <= max_length - 6
    assert [control for _, control, _ in found] == [0] * (len(found) - 1) + [2]


@pytest.mark.parametrize("size", [2, 4090, 4096, 262_144, 600_000, 1_048_576])
@pytest.mark.parametrize("max_length", [0, 4096, 16_383, 16_384, 262_144, 4 << 20])
def test_a_file_s_data_set_arrives_whole(size: int, max_length: int, tmp_path: Path) -> None:
    path = tmp_path / "file"
    content = bytes(range(256)) * (size // 256 + 1)
    path.write_bytes(b"group 2" + content[:size])
    found = sent(FileData(path, 7, size + 7), max_length)
    assert b"".join(value for _, _, value in found) == content[:size]
    assert {context for context, _, _ in found} == {7}
    assert not any(len(value) % 2 for _, _, value in found)
    assert not max_length or max(len(value) for _, _, value in found) <= max_length - 6
    assert [control for _, control, _ in found] == [0] * (len(found) - 1) + [2]


def test_a_file_that_became_shorter_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(10))
    with pytest.raises(DamagedError, match="ends early"):
        sent(FileData(path, 0, 20), 4096)


def test_a_file_that_went_away_is_damaged(tmp_path: Path) -> None:
    with pytest.raises(DamagedError, match="cannot be read"):
        sent(FileData(tmp_path / "gone", 0, 20), 4096)
