"""Bytes on their way to whoever asked, held against what was stored, where cluster.store.verify_reads wants it.

What is sent of a version as a whole is compared before its last byte leaves: whoever gets it all has what was stored.
Of parts, such as one frame, nothing is known that could be compared.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

from imagerepo.errors import DamagedError
from imagerepo.flows.batches import Batch, Extent, Part
from imagerepo.model.arrival import Buffer
from imagerepo.model.integrity import Integrity


class Seal(Protocol):
    """Of consecutive bytes of a version."""

    def add(self, piece: Buffer) -> None:
        """Take the bytes that come next."""
        ...

    def close(self) -> None:
        """All were taken. Raises DamagedError: they are not what was stored."""
        ...


class Seals(Protocol):
    """Makes seals. Safe to call from any number of threads."""

    def of(self, extent: Extent) -> Seal:
        """One for bytes that are about to be read."""
        ...


class _Open:
    """Takes anything."""

    def add(self, piece: Buffer) -> None:
        """Nothing is looked at."""

    def close(self) -> None:
        """Nothing is known."""


class _Closed:
    """Of a whole file, or of its data set."""

    def __init__(self, extent: Extent) -> None:
        self._extent = extent
        self._integrity = Integrity(extent.version.layout.data_set_offset - extent.offset)

    def add(self, piece: Buffer) -> None:
        """Take the bytes that come next."""
        self._integrity.add(piece)

    def close(self) -> None:
        """Compare."""
        version = self._extent.version
        as_stored = (
            self._integrity.has_data_set(version.digest)
            if self._extent.offset
            else self._integrity.holds(version.digest, version.crc32)
        )
        if not as_stored:
            raise DamagedError(
                f"the bytes of instance {version.instance_uid}, version {version.number}, are not those that were "
                "stored; run `imagerepo fsck`"
            )


class Trusting:
    """Compares nothing (Seals)."""

    def of(self, extent: Extent) -> Seal:
        """One that takes anything."""
        del extent
        return _OPEN


class Verifying:
    """Compares what is read as a whole (Seals)."""

    def of(self, extent: Extent) -> Seal:
        """One that is closed where the extent is a whole file, or a whole data set."""
        version = extent.version
        is_whole = extent.offset + extent.length == version.size
        return _Closed(extent) if is_whole and extent.offset in {0, version.layout.data_set_offset} else _OPEN


_OPEN: Final = _Open()
TRUSTING: Final = Trusting()


@dataclass(slots=True)
class Sealed:
    """The bytes of one answer, seal after seal."""

    seals: Seals
    _due: deque[tuple[Seal, int]] = field(default_factory=deque[tuple[Seal, int]])  # of what was planned: bytes left

    def noted(self, parts: Iterable[Part]) -> Iterator[Part]:
        """The same parts, as they are planned."""
        for part in parts:
            if isinstance(part, Extent) and part.length:
                self._due.append((self.seals.of(part), part.length))
            yield part

    def look(self, batch: Batch, view: memoryview) -> None:
        """Compare what a batch has, which come in order. Raises DamagedError."""
        for at, where in batch.ranges:
            seal, left = self._due.popleft()
            seal.add(view[at : at + where.length])
            if left > where.length:
                self._due.appendleft((seal, left - where.length))
            else:
                seal.close()
