"""Whether the bytes of a Part 10 file are those that were stored."""

from blake3 import blake3

from imagerepo.model import checksum
from imagerepo.model.arrival import Buffer


class Integrity:
    """A file's bytes, taken in order, held against what was kept of them."""

    def __init__(self, data_set_offset: int) -> None:
        """`data_set_offset`: bytes before the data set, which the digest does not cover and the CRC-32 does."""
        self._skip = data_set_offset
        self._hasher = blake3()
        self._crc32 = 0

    def add(self, piece: Buffer) -> None:
        """Take the bytes that come next."""
        view = memoryview(piece)
        self._hasher.update(view[min(self._skip, view.nbytes) :])
        self._skip -= min(self._skip, view.nbytes)
        self._crc32 = checksum.crc32(view, self._crc32)

    def has_data_set(self, digest: bytes) -> bool:
        """Whether the data set that was taken is what was stored, whatever came before it."""
        return self._hasher.digest() == digest

    def holds(self, digest: bytes, crc32: int) -> bool:
        """Whether all that was taken is what was stored."""
        return self._crc32 == crc32 and self._hasher.digest() == digest
