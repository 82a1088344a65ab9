"""Where the bytes of a study's versions lie, told from what is in its objects: no input, no output.

A version lies where its line says, as long as that object is there in its whole length; else in a copy, and what was
compacted comes before what was not. Copies that turn out to be wrong are passed over, and as long as no right one is
known nothing that says that it has those bytes is given up. Where no journal line names an object, and what it holds
is not known otherwise, it was stored after the last line that was kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from imagerepo.adapters.bundles.compaction import WRITER as COMPACTED
from imagerepo.adapters.bundles.past import Bytes, Lived, Past, bytes_of
from imagerepo.adapters.segments.lines import StoreLine
from imagerepo.model.instance import Range

_TIME: Final = 12  # hexadecimal digits that an object's name begins with: milliseconds since 1970


@dataclass(frozen=True, slots=True)
class Held:
    """An object of a study, and what it says that it holds."""

    key: str
    size: int  # bytes
    writer: str
    lines: Sequence[StoreLine]  # empty also where it does not say it

    @property
    def name(self) -> str:
        """Names sort by time."""
        return self.key.rpartition("/")[2]

    @property
    def at(self) -> datetime:
        """When it got its name."""
        try:
            return datetime.fromtimestamp(int(self.name[:_TIME], 16) / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            return datetime.fromtimestamp(0, UTC)


@dataclass(slots=True)
class Located:
    """A study's versions and objects."""

    ranges: dict[int, Range] = field(default_factory=dict[int, Range])  # by the versions' keys
    objects: dict[str, Held] = field(default_factory=dict[str, Held])  # that have one of them
    doubtful: list[Lived] = field(default_factory=list[Lived])  # of whose bytes there are several copies
    wrong: list[Lived] = field(default_factory=list[Lived])  # of which all copies are wrong
    lost: list[Lived] = field(default_factory=list[Lived])  # whose bytes nobody has
    unneeded: list[Held] = field(default_factory=list[Held])  # objects that have known bytes alone, and are not needed
    recovered: list[tuple[Held, list[int]]] = field(default_factory=list[tuple[Held, list[int]]])
    """Objects with bytes that no line knows, and which of their instances these are."""


def locate(
    past: Past, bucket: str, sizes: Mapping[str, int], held: Sequence[Held], wrong: AbstractSet[Range] = frozenset()
) -> Located:
    """Find each version's bytes.

    Args:
        past: of the study.
        bucket: where its objects lie.
        sizes: of all its objects, by key.
        held: those of which more than the size is known.
        wrong: places that do not have the bytes that they should have.
    """
    found = Located()
    by_key = {one.key: one for one in held}
    copies = _copies(bucket, held)
    for lived in past.versions:
        then = lived.line.ranges[0]
        is_there = then.store == bucket and sizes.get(then.key, 0) >= then.offset + then.length
        where = then if is_there else _copy(found, lived, copies.get(bytes_of(lived.line), ()), wrong)
        if where is None:
            found.lost.append(lived)
            continue
        found.ranges[lived.key] = where
        found.objects[where.key] = by_key.get(where.key) or Held(where.key, sizes[where.key], "", ())
    named = past.named(bucket)
    live = {bytes_of(one.line) for one in past.versions}
    unproved = {bytes_of(one.line) for one in found.wrong}
    for key, size in sizes.items():
        if key not in found.objects:
            one = by_key.get(key) or Held(key, size, "", ())
            new = [] if key in named else list(_new(one, past, live))
            if new:
                found.recovered.append((one, new))
            elif (key in named or one.lines) and unproved.isdisjoint(map(bytes_of, one.lines)):
                found.unneeded.append(one)
    return found


def _copies(bucket: str, held: Sequence[Held]) -> dict[Bytes, list[Range]]:
    """Where objects say that they have what, the better ones first."""
    found: dict[Bytes, list[Range]] = {}
    for one in sorted(held, key=lambda held: (held.writer != COMPACTED, held.name)):
        for line in one.lines:
            found.setdefault(bytes_of(line), []).append(_there(line, bucket, one.key))
    return found


def _copy(found: Located, lived: Lived, copies: Sequence[Range], wrong: AbstractSet[Range]) -> Range | None:
    """The first copy that is not known to be wrong; if all are, the first one; None: there is none."""
    if len(copies) > 1:
        (found.wrong if all(one in wrong for one in copies) else found.doubtful).append(lived)
    return next((one for one in copies if one not in wrong), copies[0] if copies else None)


def _there(line: StoreLine, bucket: str, key: str) -> Range:
    """As the object says it; it may have been copied with its bucket, as a whole."""
    where = line.ranges[0]
    return Range(bucket, key, where.offset, where.length)


def _new(one: Held, past: Past, live: set[Bytes]) -> Iterator[int]:
    """Which of an object's instances no line knows."""
    for number, line in enumerate(one.lines):
        which = bytes_of(line)
        deleted = past.deleted.get(which)
        if which in live or (deleted is not None and (one.writer == COMPACTED or one.at <= deleted)):
            continue
        yield number
