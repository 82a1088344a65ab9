"""Where bytes lie that were looked up a while ago: small objects are put together, and those that were copied go.

Whoever reads slowly may come too late for an object. Its version is looked up again then, and read where it lies now.
"""

from collections.abc import Iterable

from imagerepo.errors import MissingError
from imagerepo.flows.batches import ranges_of
from imagerepo.model.instance import Range, Version
from imagerepo.model.scope import Scope
from imagerepo.ports.index import Index
from imagerepo.ports.objects import Objects


class Whereabouts:
    """Reads ranges of versions, wherever these lie by now."""

    def __init__(self, index: Index, objects: Objects) -> None:
        self._index = index
        self._objects = objects

    def read(self, where: Range, versions: Iterable[Version]) -> bytes:
        """All of `where`, a range of one of the versions, or a part of it; blocks. Raises likewise."""
        try:
            return self._objects.read(where)
        except MissingError:
            return b"".join(self._objects.read(now) for now in self._now(where, versions))

    def read_into(self, where: Range, room: memoryview, versions: Iterable[Version]) -> None:
        """Fill `room` with all of `where`; blocks.

        Args:
            where: a range of one of the versions, or a part of it.
            room: as long as it.
            versions: as they were looked up.

        Raises:
            NotFoundError: the version was deleted meanwhile.
            DamagedError: the object is missing, and nothing lies elsewhere.
        """
        try:
            self._objects.read_into(where, room)
        except MissingError:
            at = 0
            for now in self._now(where, versions):
                self._objects.read_into(now, room[at : at + now.length])
                at += now.length

    def _now(self, where: Range, versions: Iterable[Version]) -> list[Range]:
        """Where that lies now. Raises MissingError: nowhere else; NotFoundError."""
        for version in versions:
            offset = offset_in(version, where)
            if offset is not None:
                names = (version.study_uid, version.series_uid, version.instance_uid)
                found = self._index.version(Scope(version.institution, *names, version.number))
                now = list(ranges_of(found, offset, where.length))
                if where not in now:
                    return now
        raise MissingError(f"object {where.store}/{where.key} is missing; run `imagerepo fsck`")


def offset_in(version: Version, where: Range) -> int | None:
    """Which byte of a version's file `where` begins with; None: it is none of that version."""
    before = 0
    for one in version.copy.ranges:
        begins = where.offset - one.offset
        if (one.store, one.key) == (where.store, where.key) and begins >= 0 and begins + where.length <= one.length:
            return before + begins
        before += one.length
    return None
