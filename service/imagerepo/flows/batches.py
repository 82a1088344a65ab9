"""Plan an answer's body: which bytes stand in which buffer. Pure.

Small things share a buffer, what is larger than one is cut, and an instance of the usual half megabyte is not: each
buffer is one read (or few) and one write.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from imagerepo.model.instance import Range, Version
from imagerepo.model.tier import Tier

PIECE: Final = 640 << 10
"""Bytes of a buffer: an image of 512 KB with its header and what frames it; of the second-level cache a part."""

_ALL: Final = 12 << 20  # bytes of one buffer each of all answers; each may have four of them
_LEAST: Final = 32 << 10  # bytes
_FILLED: Final = 10  # up to this part of it a buffer is filled by cutting what comes next


@dataclass(frozen=True, slots=True)
class Extent:
    """Consecutive bytes of a version's Part 10 file."""

    version: Version
    offset: int  # bytes
    length: int  # bytes


Part: TypeAlias = bytes | Extent


@dataclass(slots=True)
class Batch:
    """What one buffer will hold."""

    size: int = 0  # bytes
    texts: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    ranges: list[tuple[int, Range]] = field(default_factory=list[tuple[int, Range]])
    versions: list[Version] = field(default_factory=list[Version])  # of which there are bytes
    stored: dict[Tier, int] = field(default_factory=dict[Tier, int])  # bytes that come from ranges


def piece(answers: int) -> int:
    """Bytes of a buffer while so many answers are on their way: what slow clients hold is bounded together."""
    return max(_LEAST, min(PIECE, _ALL // max(answers, 1)))


def batches(parts: Iterable[Part], most: Callable[[], int] = lambda: PIECE) -> Iterator[Batch]:
    """Buffers that hold the parts one after another; texts are taken to be short.

    Args:
        parts: what is to be sent.
        most: bytes of a buffer at the most, asked for each.
    """
    batch, size = Batch(), most()
    for part in parts:
        if isinstance(part, bytes):
            batch.texts.append((batch.size, part))
            batch.size += len(part)
            continue
        tier = part.version.copy.tier
        for where in ranges_of(part.version, part.offset, part.length):
            start, end = where.offset, where.offset + where.length
            while start < end:
                room = size - batch.size
                if end - start > room and batch.size > size // _FILLED:
                    yield batch
                    batch, size = Batch(), most()
                    room = size
                step = min(room, end - start)
                whole = step == where.length
                batch.ranges.append((batch.size, where if whole else Range(where.store, where.key, start, step)))
                if not batch.versions or batch.versions[-1] is not part.version:
                    batch.versions.append(part.version)
                batch.stored[tier] = batch.stored.get(tier, 0) + step
                batch.size += step
                start += step
    if batch.size:
        yield batch


def ranges_of(version: Version, offset: int, length: int) -> Iterator[Range]:
    """Where `length` bytes at `offset` of a version's file are, in order."""
    for where in version.copy.ranges:
        if length <= 0:
            return
        if offset >= where.length:
            offset -= where.length
            continue
        take = min(where.length - offset, length)
        whole = take == where.length
        yield where if whole else Range(where.store, where.key, where.offset + offset, take)
        offset, length = 0, length - take
