"""Move a data folder to a cluster: commits in order, some of them at a time.

1. Commits are gathered from where the folder's chains end here (lots.py).
2. Bytes of what is still there are read, compared with their digests, and put, those of a series together.
3. One transaction has rows and lines (carrying.py). Meanwhile the next ones are read.

Killed at any moment it goes on where the last transaction ended; objects that no row names are left to the sweeper.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from threading import Event
from typing import Final, TypeVar

from imagerepo.adapters.bundles import placing
from imagerepo.adapters.bundles.bundle import Entry
from imagerepo.adapters.bundles.carrying import Carrying, Outcome
from imagerepo.adapters.bundles.item import Item, made_of
from imagerepo.adapters.bundles.loading import Load, SeriesName, next_load, series_of
from imagerepo.adapters.bundles.lots import Lot, lots, require_same
from imagerepo.adapters.bundles.spool import Scratch, SpoolFile
from imagerepo.adapters.objects_s3.store import S3Store
from imagerepo.adapters.segments import proof
from imagerepo.adapters.segments.leaving import Leaving
from imagerepo.adapters.segments.lines import StoreLine
from imagerepo.adapters.segments.read_back import unknown
from imagerepo.dicom import part10
from imagerepo.errors import DamagedError, OutOfSpaceError, OvertakenError, RefusedError, UnavailableError
from imagerepo.model.arrival import InMemory
from imagerepo.model.caller import Caller
from imagerepo.model.events import OnDifference, StoreRequest
from imagerepo.model.instance import Attributes, Layout, Range
from imagerepo.model.moving import Moved, Stuck
from imagerepo.model.uids import Uid

_PIECE: Final = 4 << 20  # bytes
_PAUSE: Final = 1.0  # seconds before something is tried again
_UNREADABLE: Final = (RefusedError, DamagedError, ValueError, BufferError)
_FOR_GOOD: Final = (OutOfSpaceError, OvertakenError)

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Means:
    """What a move works with."""

    store: S3Store
    carrying: Carrying
    scratch: Scratch
    threshold: int  # bytes above which an instance has an object of its own
    jobs: int  # objects on their way at the same time
    patience: float  # seconds without progress until it gives up


@dataclass(slots=True)
class _Ready:
    """A lot whose bytes are on their way."""

    lot: Lot
    stuck: list[Stuck] = field(default_factory=list[Stuck])  # versions that cannot be read
    spooled: list[SpoolFile] = field(default_factory=list[SpoolFile])
    loads: list[Load] = field(default_factory=list[Load])
    puts: list[Future[None]] = field(default_factory=list[Future[None]])

    def discard(self) -> None:
        """Let go of its files."""
        for one in self.spooled:
            one.discard()


class Moving:
    """One move. `run` once."""

    def __init__(self, leaving: Leaving, means: Means, tell: Callable[[Moved], None], stopping: Event) -> None:
        """`tell` is told what was moved, by one thread at a time; `stopping` ends it after what is under way."""
        self._leaving = leaving
        self._means = means
        self._tell = tell
        self._stopping = stopping
        self._put_pool = ThreadPoolExecutor(means.jobs, "put")
        self._carry_pool = ThreadPoolExecutor(1, "carry")

    def run(self) -> None:
        """Move all that was not moved yet.

        Raises:
            DamagedError: the folder is another one than that which was carried before; nothing has changed.
            HeldError: a deletion is to be carried of a study that is held here.
            OutOfSpaceError: the store or the scratch folder has no room.
            UnavailableError: database or store do not answer for as long as is waited.
        """
        under_way: Future[None] | None = None
        with self._put_pool, self._carry_pool:
            heads = self._patiently(self._means.carrying.heads)
            require_same(self._leaving.commits(), heads)
            for lot in lots(self._leaving.commits(), heads, self._tell_earlier):
                ready = self._made_ready(lot)
                if under_way is not None:
                    under_way.result()
                under_way = self._carry_pool.submit(self._carry, ready)
                if self._stopping.is_set():
                    break
            if under_way is not None:
                under_way.result()

    def _tell_earlier(self, size: int) -> None:
        if size:
            self._tell(Moved(earlier_size=size))

    def _made_ready(self, lot: Lot) -> _Ready:
        """Read what is to be stored, and have it put."""
        ready = _Ready(lot)
        there: list[tuple[StoreLine, Caller]] = []
        for one in lot.commits:
            there += [(line, who) for line, who in one.stores if self._leaving.is_there(line)]
        try:
            items = {id(line): item for line, item in self._read(there, ready)}
        except BaseException:
            ready.discard()
            raise
        waiting: dict[SeriesName, deque[tuple[Item, Entry | None]]] = {}
        for one in lot.commits:
            for line, _ in one.stores:
                item = items.get(id(line))
                if item is None:
                    one.gone.append(line)
                    continue
                one.versions.append((line, item))
                request = item.request
                assert isinstance(request, StoreRequest)
                buffers = request.payload.buffers if isinstance(request.payload, InMemory) else ()
                waiting.setdefault(series_of(item), deque()).append((item, Entry(request, line.version, buffers)))
        for series, of_series in waiting.items():
            while of_series:
                ready.loads.append(next_load(series, of_series))
        ready.puts = [self._put_pool.submit(self._put, load) for load in ready.loads]
        return ready

    def _read(self, there: list[tuple[StoreLine, Caller]], ready: _Ready) -> Iterator[tuple[StoreLine, Item]]:
        """Read versions; what cannot be read is noted."""
        for line, who in there:
            try:
                request = self._request(line, who, ready)
            except DamagedError as error:
                ready.stuck.append(Stuck(line.instance_uid, line.version, str(error), line.size))
            else:
                yield line, made_of([request], 0.0)[0]

    def _request(self, line: StoreLine, who: Caller, ready: _Ready) -> StoreRequest:
        """A version as it came in. Raises DamagedError: it is not what it was."""
        if line.size > self._means.threshold:
            payload = SpoolFile(self._means.scratch)
            ready.spooled.append(payload)
            for piece in _pieces(line):
                payload.write(self._leaving.objects.read(piece))
            _prove(line, payload.read)
            with payload.map() as whole, memoryview(whole) as view:
                attributes, layout = _described(line, view)
        else:
            held = b"".join(self._leaving.objects.read(where) for where in line.ranges)
            payload = InMemory((held,), len(held))
            _prove(line, lambda offset, length: held[offset : offset + length])
            attributes, layout = _described(line, memoryview(held))
        return StoreRequest(
            caller=who,
            attributes=attributes,
            layout=layout,
            transfer_syntax=Uid(line.transfer_syntax),
            digest=line.digest,
            crc32=line.crc32,
            payload=payload,
            received_at=line.received_at,
            on_difference=OnDifference.VERSION,
        )

    def _put(self, load: Load) -> None:
        stored, ranges = self._patiently(lambda: placing.put(self._means.store, load))
        for (item, _), where in zip(load.entries, ranges, strict=True):
            item.object_, item.where = stored, where

    def _carry(self, ready: _Ready) -> None:
        try:
            for put in ready.puts:
                put.result()
            outcome = self._patiently(lambda: self._means.carrying.carry(ready.lot))
        except BaseException:
            self._stopping.set()  # nothing that comes later can be carried before this
            raise
        finally:
            ready.discard()
        self._tell(_moved(ready, outcome))

    def _patiently(self, work: Callable[[], Result]) -> Result:
        """What `work` returns, which is tried again where that may help. Raises what it raises."""
        until = time.monotonic() + self._means.patience
        while True:
            try:
                return work()
            except _FOR_GOOD:
                raise
            except UnavailableError:
                if time.monotonic() > until or self._stopping.wait(_PAUSE):
                    raise


def _pieces(line: StoreLine) -> Iterator[Range]:
    """The bytes of a version, some at a time."""
    for where in line.ranges:
        for start in range(0, where.length, _PIECE):
            yield Range(where.store, where.key, where.offset + start, min(_PIECE, where.length - start))


def _prove(line: StoreLine, read: Callable[[int, int], bytes]) -> None:
    """Raise DamagedError unless what was read, by offset and length, is what was stored."""
    whole = replace(line, ranges=(Range("", "", 0, line.size),))
    if wrong := proof.wrong_bytes(whole, lambda where: read(where.offset, where.length)):
        raise DamagedError(wrong)


def _described(line: StoreLine, whole: memoryview) -> tuple[Attributes, Layout]:
    """What the index needs; of bytes that are right and cannot be read as DICOM what their line says."""
    try:
        with whole[line.data_set_offset :] as data_set:
            return part10.read_data_set(data_set, Uid(line.transfer_syntax), line.data_set_offset)
    except _UNREADABLE:
        names = (line.study_uid, line.series_uid, line.instance_uid, line.sop_class_uid)
        return unknown(*names), Layout(line.data_set_offset, line.header_length, line.trailer_offset, None)


def _moved(ready: _Ready, outcome: Outcome) -> Moved:
    refused = [Stuck(line.instance_uid, line.version, reason, line.size) for line, reason in outcome.refused]
    return Moved(
        lines=ready.lot.entries,
        stored=len(outcome.stored),
        stored_size=sum(line.size for line in outcome.stored),
        already=len(outcome.already),
        already_size=sum(line.size for line in outcome.already),
        stuck=(*ready.stuck, *refused),
    )
