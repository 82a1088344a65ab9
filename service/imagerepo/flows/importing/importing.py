"""Find → gather → store → note: so many readers, and as many who store.

What is under way is bounded: each reader holds what it gathers, each that stores one request, and one more request
waits for each of them. A note is made when the target has said that an instance is durable, never before: whatever
stops an import, the next one goes on where it was and stores at most some of it once more, which changes nothing.
"""

import queue
from collections.abc import Callable, Iterator, Sequence
from threading import Event, Lock, Thread
from typing import Final

from imagerepo.flows.importing.gather import Gathering, Request
from imagerepo.flows.importing.tally import Counts, Refusal, Tally
from imagerepo.model.imports import Candidate, Ended, Fate, Passed, Result, Thing, Unit, Unusable, Whole, Why
from imagerepo.ports.imports import Notes, Source, Target

_LOOK: Final = 0.2  # seconds between looks whether it is to stop
_END: Final = None


class Import:
    """One import. `run` once."""

    def __init__(
        self, source: Source, notes: Notes, open_target: Callable[[], Target], tally: Tally, stopping: Event
    ) -> None:
        """Assemble.

        Args:
            source: what is imported.
            notes: of what earlier runs have stored.
            open_target: for each thread that stores.
            tally: counts.
            stopping: set from outside, ends it after what is under way; set by itself when it cannot go on.
        """
        self._source = source
        self._notes = notes
        self._open_target = open_target
        self._tally = tally
        self._stopping = stopping
        self._units: Iterator[Unit] = source.units()
        self._units_lock = Lock()
        self._wholes_lock = Lock()
        self._error: BaseException | None = None

    def run(self, jobs: int, meanwhile: Callable[[], None]) -> None:
        """Import all, with so many readers and so many that store; `meanwhile` is called several times a second.

        Raises:
            ImagerepoError: why it could not go on; what was stored until then is noted.
        """
        ready: queue.Queue[Request | None] = queue.Queue(jobs)
        readers = [Thread(target=self._guarded, args=(self._read, ready), daemon=True) for _ in range(jobs)]
        storing = [Thread(target=self._guarded, args=(self._store, ready), daemon=True) for _ in range(jobs)]
        for thread in (*readers, *storing):
            thread.start()
        _await(readers, meanwhile)
        for _ in storing:
            self._hand(ready, _END)
        _await(storing, meanwhile)
        if self._error is not None:
            raise self._error

    def _guarded(
        self, work: Callable[["queue.Queue[Request | None]"], None], ready: "queue.Queue[Request | None]"
    ) -> None:
        try:
            work(ready)
        except BaseException as error:  # noqa: BLE001 - raised again by run(), whatever it is
            self._error = self._error or error
            self._stopping.set()

    def _read(self, ready: "queue.Queue[Request | None]") -> None:
        gathering = Gathering()
        while not self._stopping.is_set():
            with self._units_lock:
                unit = next(self._units, None)
            if unit is None:
                break
            before = gathering.taken
            for thing in self._source.things(unit):
                if self._stopping.is_set():
                    return
                for request in self._sorted(thing, gathering):
                    self._hand(ready, request)
            if gathering.taken == before:  # nothing more may come for long: a folder of something else
                for request in gathering.rest():
                    self._hand(ready, request)
        for request in gathering.rest():
            self._hand(ready, request)

    def _hand(self, ready: "queue.Queue[Request | None]", request: Request | None) -> None:
        while not self._stopping.is_set():
            try:
                ready.put(request, timeout=_LOOK)
            except queue.Full:
                continue
            return

    def _sorted(self, thing: Thing, gathering: Gathering) -> Iterator[Request]:
        match thing:
            case Candidate():
                if thing.whole is not None:
                    with self._wholes_lock:
                        thing.whole.begin()
                yield from gathering.add(thing)
            case Unusable():
                if thing.whole is not None:
                    with self._wholes_lock:
                        thing.whole.begin()
                    self._end(thing.whole, good=False)
                self._tally.refuse(Refusal(thing.place, thing.reason), thing.weight)
            case Passed():
                passed = Counts(weight=thing.weight)
                passed.passed[thing.why] += 1
                passed.noted_weight = thing.weight if thing.why is Why.NOTED else 0
                self._tally.add(passed)
            case Ended():
                self._end(thing.whole, good=True)
                self._tally.add(Counts(weight=thing.weight))

    def _store(self, ready: "queue.Queue[Request | None]") -> None:
        target: Target | None = None
        while not self._stopping.is_set():
            try:
                request = ready.get(timeout=_LOOK)
            except queue.Empty:
                continue
            if request is None:
                break
            # Opened when there is something to be stored: an import of nothing asks nobody.
            target = target or self._open_target().__enter__()
            try:
                self._enter(request, target.store(request))
            except BaseException:
                target.__exit__(None, None, None)
                raise
        if target is not None:
            target.__exit__(None, None, None)

    def _enter(self, request: Sequence[Candidate], results: Sequence[Result]) -> None:
        """Note and count what became of a request."""
        counts = Counts()
        stored = [one for one, result in zip(request, results, strict=True) if result.fate is not Fate.REFUSED]
        studies = (one.names.study for one in stored if one.names is not None)
        self._notes.note([one.key for one in stored], next(studies, ""))
        for one, result in zip(request, results, strict=True):
            good = result.fate is not Fate.REFUSED
            if one.whole is not None:
                self._end(one.whole, good=good)
            if not good:
                self._tally.refuse(Refusal(one.place, result.reason), one.weight)
                continue
            counts.weight += one.weight
            if result.fate is Fate.STORED:
                counts.stored += 1
                counts.stored_bytes += one.size
            else:
                counts.already += 1
        self._tally.add(counts)

    def _end(self, whole: Whole, *, good: bool) -> None:
        with self._wholes_lock:
            done = whole.end(good=good)
        if done:
            self._notes.note([whole.key])


def _await(threads: Sequence[Thread], meanwhile: Callable[[], None]) -> None:
    for thread in threads:
        while thread.is_alive():
            thread.join(_LOOK)
            meanwhile()
