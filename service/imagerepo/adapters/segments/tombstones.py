"""What tombstones say, for whoever reads segments without an index.

Bytes of what was deleted may be gone: given back to the disk, or about to be. So a commit in doubt (replay.py) of
which bytes are missing counts all the same if a tombstone names it: whoever wrote that had found it whole.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from imagerepo.adapters.segments import format as segment_format
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.catalog import Segment
from imagerepo.adapters.segments.format import Kind
from imagerepo.adapters.segments.lines import DeleteLine, StoreLine
from imagerepo.errors import DamagedError

_Names = tuple[str, str, str | None, str | None]  # institution, study, series, instance
_SIGN = b'"action":"delete"'  # in every commit that has one


def read(segments: Sequence[Segment], start: Mapping[str, int]) -> Iterator[DeleteLine]:
    """Tombstones of whole commits, by segment; from offsets by file name on, where there are any."""
    for segment in segments:
        if not segment.is_readable:
            continue
        descriptor = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            begin = start.get(segment.path.name, 0)
            for record in segment_format.records(descriptor, segment.seal, begin, size):
                body = segment_format.read_payload(descriptor, record) if record.kind is Kind.COMMIT else None
                if body is not None and _SIGN in body:
                    yield from _of(body, segment.path.name)
        finally:
            os.close(descriptor)


def _of(body: bytes, place: str) -> Iterator[DeleteLine]:
    try:
        head, journal = lines.parse_body(body, place)
        for line in journal:
            if _SIGN in line:
                yield from lines.deletes(lines.parse_line(line, place), head.number)
    except (DamagedError, KeyError, ValueError):
        return  # whoever reads the commit itself reports it


class Evidence:
    """Which commits tombstones name. Looked for when it is first asked for, and once."""

    def __init__(self, segments: Sequence[Segment], start: Mapping[str, int]) -> None:
        """Look in these segments, from offsets by file name on: what an index holds is in doubt no more."""
        self._segments = segments
        self._start = start
        self._named: set[int] | None = None

    def names(self, commit: int) -> bool:
        """Whether a tombstone names it."""
        if self._named is None:
            self._named = {number for one in read(self._segments, self._start) for number in one.commits}
        return commit in self._named


class Graves:
    """What was deleted: whether the bytes of a version may be gone."""

    def __init__(self, found: Iterable[DeleteLine]) -> None:
        """Of these tombstones."""
        self._last: dict[_Names, int] = {}
        for one in found:
            names = (one.institution, one.study_uid, one.series_uid, one.instance_uid)
            self._last[names] = max(one.commit, self._last.get(names, 0))

    def hold(self, stored: StoreLine) -> bool:
        """Whether a later commit deleted it."""
        of, series, instance = (stored.institution, stored.study_uid), stored.series_uid, stored.instance_uid
        names: tuple[_Names, ...] = (
            (*of, None, None),
            (*of, series, None),
            (*of, series, instance),
            (*of, None, instance),
        )
        return any(self._last.get(one, 0) > stored.commit for one in names)
