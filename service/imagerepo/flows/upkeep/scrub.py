"""Scrub: every byte that is stored is read now and then, and held against what was stored.

One pass goes over all copies, at a bounded rate. A copy that is not what it should be, or is not to be had, becomes a
task of its own, which looks again: its bytes may have gone elsewhere meanwhile, or their version may be deleted. If it
is so, the task is parked with the reason. Nothing is changed; once the bytes are back, `imagerepo tasks retry` looks
again.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, cast

from imagerepo import telemetry
from imagerepo.errors import DamagedError, UnavailableError
from imagerepo.flows.upkeep.steps import Again
from imagerepo.flows.work import now
from imagerepo.model.instance import Range
from imagerepo.model.integrity import Integrity
from imagerepo.model.task import NewTask, Task, TaskKind
from imagerepo.ports.objects import Objects
from imagerepo.ports.tasks import Tasks
from imagerepo.ports.upkeep import Copies, Kept, Position
from imagerepo.settings import Settings
from imagerepo.settings_cluster import Upkeep

log = logging.getLogger(__name__)

_STEP: Final = 5.0  # seconds
_COPIES: Final = 200  # looked up at a time
_PIECE: Final = 2 << 20  # bytes read at once
_AHEAD: Final = 16 << 20  # bytes that are fetched before they are read
_SILENT: Final = 3  # objects in a row that are not to be had: then it is the store that is not
_ALL: Final = "all"  # queue of the pass
_BEGIN: Final[Position] = (0, 0, 0)


class Scrub:
    """Does tasks of kind SCRUB (steps.Step).

    Payload of the pass: `after`, a position, and `begun`; of a copy: `copy`, its position.
    """

    def __init__(self, copies: Copies, opened: Callable[[], Objects], tasks: Tasks, settings: Upkeep) -> None:
        """`opened`: reads of stored bytes, from which nothing is had that was read before."""
        self._copies = copies
        self._opened = opened
        self._tasks = tasks
        self._interval = timedelta(seconds=settings.scrub_interval)
        self._rate = settings.scrub_rate

    def __call__(self, task: Task, stop: threading.Event) -> Again | None:
        """Go on with the pass, or look at one copy again."""
        said = json.loads(task.payload)
        look = _Look(self._copies, self._opened(), self._tasks)
        return look.again(tuple(said["copy"])) if "copy" in said else self._go_on(look, said, stop)

    def _go_on(self, look: "_Look", said: dict[str, object], stop: threading.Event) -> Again:
        after = _position(said["after"]) if "after" in said else _BEGIN
        begun = datetime.fromisoformat(str(said["begun"])) if "begun" in said else now()
        until, pace = time.monotonic() + _STEP, _Pace(self._rate, stop)
        while True:
            page = self._copies.page(after, _COPIES)
            if not page:
                return Again("{}", max(now(), begun + self._interval))
            for some in _portions(page):
                look.at(some)
                after = some[-1].position
                pace.read(sum(where.length for kept in some for where in kept.ranges))
                if stop.is_set() or time.monotonic() >= until:
                    progress = {"after": after, "begun": begun.astimezone(UTC).isoformat()}
                    return Again(json.dumps(progress), now())


@dataclass(frozen=True, slots=True)
class _Look:
    """Compares bytes, for one step."""

    copies: Copies
    objects: Objects
    tasks: Tasks
    silent: dict[str, str] = field(default_factory=dict[str, str])  # keys of objects that were not to be had, and why

    def again(self, position: Position) -> None:
        """Look at one copy. Raises DamagedError: it is not what was stored."""
        kept = self.copies.find(position)
        if kept is None:
            return
        problem = self._problem(kept)
        if problem is None:
            self.copies.verified([position], now())
            return
        telemetry.scrubbed_copies.labels("damaged").inc()
        raise DamagedError(f"instance {kept.instance_uid}, version {kept.number}: {problem}")

    def at(self, some: Sequence[Kept]) -> None:
        """Look at copies whose bytes are fetched together."""
        if len(some) > 1:  # one alone may be larger than what can be fetched ahead
            self.objects.expect(where for kept in some for where in kept.ranges)
        good: list[Position] = []
        for kept in some:
            problem = self._problem_if_any(kept)
            if problem is None:
                good.append(kept.position)
            else:
                log.error("scrub.differs", extra={"instance": kept.instance_uid, "reason": problem})
                self.tasks.add([_again(kept)])
        self.copies.verified(good, now())
        telemetry.scrubbed_copies.labels("verified").inc(len(good))

    def _problem_if_any(self, kept: Kept) -> str | None:
        """Likewise, also where its bytes are not to be had. Raises UnavailableError: those before were not either."""
        key = kept.ranges[0].key if kept.ranges else ""
        if key in self.silent:  # many copies lie in it, and to wait for each takes long
            return self.silent[key]
        try:
            problem = self._problem(kept)
        except UnavailableError as error:
            self.silent[key] = str(error)
            if len(self.silent) == _SILENT:
                raise
            return str(error)
        self.silent.clear()
        return problem

    def _problem(self, kept: Kept) -> str | None:
        """What is wrong with a copy's bytes. Raises UnavailableError."""
        if not kept.ranges:
            return "rows are missing that say what its bytes are, and where; run `imagerepo fsck`"
        integrity = Integrity(kept.data_set_offset)
        try:
            for where in kept.ranges:
                for piece in _pieces(where):
                    integrity.add(self.objects.read(piece))
                    telemetry.scrubbed_bytes.inc(piece.length)
        except DamagedError as error:
            return str(error)
        if integrity.holds(kept.digest, kept.crc32):
            return None
        first = kept.ranges[0]
        return f"object {first.store}/{first.key}: bytes {first.offset} and on are not those that were stored"


class _Pace:
    """Keeps reading from being faster than a rate."""

    def __init__(self, rate: int, stop: threading.Event) -> None:
        self._rate = rate
        self._stop = stop
        self._begun = time.monotonic()
        self._read = 0

    def read(self, size: int) -> None:
        """So many bytes more were read; wait until they may have been."""
        self._read += size
        self._stop.wait(max(0.0, self._begun + self._read / self._rate - time.monotonic()))


def standing(settings: Settings) -> Sequence[NewTask]:
    """One task for all that is stored."""
    del settings
    return [NewTask(TaskKind.SCRUB, "", queue=_ALL, lane="", name="copies", payload="{}", due_at=now())]


def _again(kept: Kept) -> NewTask:
    name = f"{kept.instance_uid} version {kept.number} copy {kept.position[2]}"
    payload = json.dumps({"copy": kept.position})
    queue = kept.institution or _ALL
    return NewTask(TaskKind.SCRUB, kept.institution, queue, name, name, payload, now())


def _portions(page: Sequence[Kept]) -> Iterator[list[Kept]]:
    """What is fetched together."""
    portion: list[Kept] = []
    size = 0
    for kept in page:
        length = sum(where.length for where in kept.ranges)
        if portion and size + length > _AHEAD:
            yield portion
            portion, size = [], 0
        portion.append(kept)
        size += length
    if portion:
        yield portion


def _pieces(where: Range) -> Iterator[Range]:
    for start in range(0, where.length, _PIECE):
        yield Range(where.store, where.key, where.offset + start, min(_PIECE, where.length - start))


def _position(said: object) -> Position:
    instance, number, copy = cast("list[int]", said)
    return instance, number, copy
