"""What an answer of many instances will hold, fixed before its first byte: their number, order, versions and length.

Small ones are looked up once; of larger ones only name and version are kept, and the rest is looked up again page
by page, so that memory stays bounded and what is stored meanwhile changes nothing. Beyond LIMIT not even that.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from imagerepo.errors import NotFoundError
from imagerepo.flows.retrieve import Retrieve
from imagerepo.model.instance import Version
from imagerepo.model.scope import Scope
from imagerepo.web.validators import Digests

LIMIT: Final = 5000
"""Instances up to which length and entity tag are known before the first byte."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Contents:
    """The versions of one answer."""

    scope: Scope
    study_uid: str
    count: int  # instances; of those looked at if not `complete`
    length: int  # bytes, the sum of what each weighs; likewise
    digest: str  # names all versions in order; likewise
    complete: bool  # whether all were looked at
    single_page: Sequence[Version] | None  # all of them, if they were one page
    numbers: dict[str, int]  # instance -> version, if they were several and `complete`

    async def pages(self, retrieve: Retrieve) -> AsyncIterator[Sequence[Version]]:
        """All versions, page by page."""
        if self.single_page is not None:
            yield self.single_page
            return
        async for page in _pages(retrieve, self.scope):
            yield (
                [self._chosen(retrieve, one) for one in page if one.instance_uid in self.numbers]
                if self.complete
                else page
            )

    def _chosen(self, retrieve: Retrieve, version: Version) -> Version:
        number = self.numbers[version.instance_uid]
        if version.number == number:
            return version
        scope = Scope(version.institution, version.study_uid, version.series_uid, version.instance_uid, number)
        return retrieve.version(scope)


async def survey(retrieve: Retrieve, scope: Scope, weigh: Callable[[Version], int]) -> Contents:
    """Look at what `scope` holds.

    Args:
        retrieve: finds it.
        scope: a study or a series.
        weigh: bytes that a version adds to the answer; may refuse it.

    Raises:
        NotFoundError: it holds nothing.
    """
    digests = Digests()
    numbers: dict[str, int] = {}
    length = count = 0
    first: Sequence[Version] = ()
    only: Sequence[Version] | None = None
    complete = True
    async for page in _pages(retrieve, scope):
        first, only = first or page, None if first else page
        for version in page:
            length += weigh(version)
            digests.add(version)
            numbers[version.instance_uid] = version.number
        count += len(page)
        if count > LIMIT:
            complete = False
            break
    if not first:
        raise NotFoundError("no such study or series here")
    if only is not None or not complete:
        numbers = {}
    return Contents(scope, first[0].study_uid, count, length, digests.result(), complete, only, numbers)


async def _pages(retrieve: Retrieve, scope: Scope) -> AsyncIterator[Sequence[Version]]:
    pages = retrieve.pages(scope)
    while (page := await asyncio.to_thread(_next, pages)) is not None:
        yield page


def _next(items: Iterator[_T]) -> _T | None:
    # StopIteration cannot leave a thread's future.
    return next(items, None)
