"""Gather what is found into requests, each of one series where files come that way: the target stores bundles of them.

What waits is bounded. Where series come mixed, what waits is sent all the same, several series in a request.
"""

from collections.abc import Iterator
from typing import Final

from imagerepo.model.imports import Candidate

MOST_BYTES: Final = 8 << 20
"""Bytes of one request; one instance may be larger, and is then alone."""
MOST_PARTS: Final = 500
"""Instances of one request."""

_WAITING_BYTES: Final = 12 << 20
_WAITING_PARTS: Final = 2000

Request = list[Candidate]
_Series = tuple[str, str]


class _Bundle:
    """Candidates of one series, each instance once: which of two comes first must not be left to chance."""

    def __init__(self) -> None:
        self.candidates: Request = []
        self.instances: set[str] = set()
        self.size = 0

    def fits(self, candidate: Candidate) -> bool:
        full = self.size + candidate.size > MOST_BYTES or len(self.candidates) == MOST_PARTS
        known = candidate.names is not None and candidate.names.instance in self.instances
        return not (full or known)

    def add(self, candidate: Candidate) -> None:
        self.candidates.append(candidate)
        self.size += candidate.size
        if candidate.names is not None:
            self.instances.add(candidate.names.instance)


class Gathering:
    """What one reader has found and not handed on."""

    def __init__(self) -> None:
        self._bundles: dict[_Series, _Bundle] = {}  # in order of their beginning
        self._size = 0
        self._count = 0
        self.taken = 0  # candidates, ever

    def add(self, candidate: Candidate) -> Iterator[Request]:
        """Take one; what is ready with it."""
        self.taken += 1
        names = candidate.names
        if names is None or candidate.size > MOST_BYTES:
            yield [candidate]
            return
        series = names.study, names.series
        bundle = self._bundles.get(series)
        if bundle is not None and not bundle.fits(candidate):
            yield self._taken(series)
            bundle = None
        if bundle is None:
            bundle = self._bundles[series] = _Bundle()
        bundle.add(candidate)
        self._size += candidate.size
        self._count += 1
        while self._size > _WAITING_BYTES or self._count > _WAITING_PARTS:
            yield self._mixed()

    def rest(self) -> Iterator[Request]:
        """All that waits."""
        while self._bundles:
            yield self._mixed()

    def _mixed(self) -> Request:
        """The series that has waited longest, and as many of the next ones as fit beside it."""
        request = self._taken(next(iter(self._bundles)))
        size = sum(one.size for one in request)
        instances = {one.names.instance for one in request if one.names is not None}
        for series, bundle in list(self._bundles.items()):
            count = len(request) + len(bundle.candidates)
            if size + bundle.size > MOST_BYTES or count > MOST_PARTS or not instances.isdisjoint(bundle.instances):
                break
            size += bundle.size
            instances |= bundle.instances
            request += self._taken(series)
        return request

    def _taken(self, series: _Series) -> Request:
        bundle = self._bundles.pop(series)
        self._size -= bundle.size
        self._count -= len(bundle.candidates)
        return bundle.candidates
