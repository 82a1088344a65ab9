"""What changed in an institution, page by page, for whoever follows it."""

import asyncio
import base64
import contextlib
import json
import logging
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from imagerepo.errors import BadRequestError, UnavailableError
from imagerepo.model.change import Change, ChangeKind
from imagerepo.ports.feed import ChangeFeed, Mark, Marks

log = logging.getLogger(__name__)

ALL_KINDS: Final = frozenset(ChangeKind)
NOW: Final = "now"
"""The position behind all that is told now."""

_LOOK: Final = 0.25  # seconds between looks for those who wait
_LONGEST: Final = 1 << 16  # characters of a position, and bytes of what it says
_FORM: Final = "since is no position: send what `next` said, `now`, or nothing to begin with the first change"
_TEXT: Final = re.compile(r"[!-~]{0,400}\Z")
_MOST: Final = 1 << 62  # of numbers in a position


@dataclass(frozen=True, slots=True)
class Told:
    """Some of what changed."""

    changes: tuple[Change, ...]
    next: str  # the position behind it
    more: bool  # whether there may be more now


class Changes:
    """Reads what changed. Safe to call from any number of threads."""

    def __init__(self, feed: ChangeFeed) -> None:
        self._feed = feed

    def news(self) -> "News":
        """For those who wait, in one event loop."""
        return News(self._feed)

    def page(self, institution: str, since: str | None, limit: int, kinds: frozenset[ChangeKind] = ALL_KINDS) -> Told:
        """What changed after a position; blocks for some milliseconds.

        Args:
            institution: whose changes.
            since: what the page before said; NOW; None: before the first change.
            limit: changes at the most.
            kinds: of changes that are told; others are passed over.

        Raises:
            BadRequestError: `since` is no position.
            ForgottenError: it is none of this repository.
            UnavailableError: what changed cannot be read.
        """
        if since == NOW:
            return Told((), position_of(self._feed.now(institution)), more=False)
        page = self._feed.since(institution, {} if since is None else _marks_of(since), limit)
        told = tuple(one for one in page.changes if one.kind in kinds)
        return Told(told, position_of(page.marks), page.more)


class News:
    """Wakes those who wait for changes: one look for all of a process. Belongs to its event loop."""

    def __init__(self, feed: ChangeFeed) -> None:
        self._feed = feed
        self._waiting: Counter[str] = Counter()  # by institution
        self._stamps: Mapping[str, str] = {}
        self._looked = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None

    async def after(self, institution: str, stamp: str) -> str:
        """Wait until there may be more than when an institution had that stamp, '' at first; what it is now."""
        self._waiting[institution] += 1
        if self._looking is None or self._looking.done():
            self._stamps = {}
            self._looking = asyncio.create_task(self._look())
        try:
            while self._stamps.get(institution, stamp) == stamp:
                await self._looked.wait()
            return self._stamps[institution]
        finally:
            self._waiting[institution] -= 1

    async def _look(self) -> None:
        while institutions := [name for name, count in self._waiting.items() if count]:
            with contextlib.suppress(UnavailableError):  # who waits is told when he asks next
                self._stamps = await asyncio.to_thread(self._feed.stamps, institutions)
            self._looked.set()
            self._looked = asyncio.Event()
            await asyncio.sleep(_LOOK)


def as_fields(change: Change) -> dict[str, str | int]:
    """A change as JSON has it: what does not apply to its kind is left out."""
    said: dict[str, str | int | None] = {
        "id": change.id,
        "kind": change.kind.value,
        "at": change.at.isoformat(timespec="microseconds"),
        "caller": change.caller,
        "study": change.study_uid,
        "series": change.series_uid,
        "instance": change.instance_uid,
        "version": change.version,
        "instances": change.instances,
        "reason": change.reason,
    }
    return {name: value for name, value in said.items() if value}


def position_of(marks: Marks) -> str:
    """Marks as one word, which nobody but us has to understand."""
    said = json.dumps([[name, mark.segment, mark.position] for name, mark in sorted(marks.items())])
    return base64.urlsafe_b64encode(zlib.compress(said.encode())).decode().rstrip("=")


def _marks_of(position: str) -> Marks:
    if len(position) > _LONGEST:
        raise BadRequestError(_FORM)
    try:
        packed = base64.urlsafe_b64decode(position + "=" * (-len(position) % 4))
        said: Any = json.loads(zlib.decompressobj().decompress(packed, _LONGEST))
        return {_text(name): Mark(_text(segment), _number(place)) for name, segment, place in cast("list[Any]", said)}
    except (ValueError, TypeError, zlib.error, RecursionError) as error:
        raise BadRequestError(_FORM) from error


def _text(value: object) -> str:
    if not isinstance(value, str) or _TEXT.match(value) is None:
        raise ValueError("no text of ours")
    return value


def _number(value: object) -> int:
    if type(value) is not int or not 0 <= value < _MOST:
        raise ValueError("no number of ours")
    return value
