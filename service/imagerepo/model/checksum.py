"""CRC-32 as zip files have it, at the speed of memory: zlib's own takes as long as hashing does."""

from collections.abc import Callable
from typing import cast

from isal import isal_zlib

from imagerepo.model.arrival import Buffer

# isal's functions carry no types.
crc32 = cast("Callable[[Buffer, int], int]", isal_zlib.crc32)  # pyright: ignore[reportUnknownMemberType]
"""CRC-32 of a buffer, continuing from that of what came before it (0 to begin)."""
