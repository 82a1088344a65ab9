"""Which objects of a series become one: a decision about sizes, without input or output.

Objects of a quarter of the wanted size or more are left as they are: so are those of a series that came at once. What
is smaller goes together, but for an object that outweighs all smaller ones by far: a series that grows by a few
instances now and then has its bytes copied a bounded number of times, and has a few objects at any time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_READ: Final = 2  # times what an object may have: bytes read for one, most of which may be needed no more
_OUTWEIGHS: Final = 8  # times the smaller ones' size together: as often as a byte is copied before its object triples
INSTANCES: Final = 4096
"""Versions in an object at the most: its rows change in one transaction, which is to be over soon."""


@dataclass(frozen=True, slots=True)
class Lying:
    """An object of a series, as its rows say."""

    id: int
    store: str
    key: str
    size: int  # bytes
    held: int  # bytes of versions
    versions: int
    first: int  # key of the earliest instance in it
    last: int
    is_torn: bool  # it has bytes that no row names any more


def small(most: int) -> int:
    """Below how many bytes of versions an object is to go together with others, where one may have `most`."""
    return most // 4


def plan(objects: Sequence[Lying], most: int) -> list[list[Lying]]:
    """What is to be copied into one object each, in order of instances; empty: the series is as it should be.

    Args:
        objects: of one series, in any order.
        most: bytes of versions that an object has at the most, unless a single object has more; all that one is made
            of has a small multiple of it, since that is in memory at once.
    """
    stores = sorted({one.store for one in objects})
    return [target for store in stores for target in _plan([one for one in objects if one.store == store], most)]


def _plan(objects: Sequence[Lying], most: int) -> list[list[Lying]]:
    few = sorted((one for one in objects if one.held < small(most)), key=lambda one: (one.held, one.id))
    chosen = {one.id for one in _together(few)} | {one.id for one in objects if one.is_torn}
    targets: list[list[Lying]] = []
    size = versions = read = 0
    for one in sorted(objects, key=lambda lying: (lying.first, lying.id)):
        if one.id not in chosen:
            continue
        if (
            not targets
            or size + one.held > most
            or versions + one.versions > INSTANCES
            or read + one.size > _READ * most
        ):
            targets.append([])
            size = versions = read = 0
        targets[-1].append(one)
        size += one.held
        versions += one.versions
        read += one.size
    return [target for target in targets if is_worthwhile(target)]


def is_worthwhile(target: Sequence[Lying]) -> bool:
    """Whether a copy of these is any better than they are."""
    return len(target) > 1 or any(one.is_torn for one in target)


def _together(few: Sequence[Lying]) -> Sequence[Lying]:
    """As many of these, the smallest first, as go together."""
    before = [0]
    for one in few:
        before.append(before[-1] + one.held)
    for count in range(len(few), 1, -1):
        if few[count - 1].held <= _OUTWEIGHS * before[count - 1]:
            return few[:count]
    return ()
