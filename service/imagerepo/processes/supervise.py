"""The parent's part: start workers, watch them, recover after one that died, end them in order."""

import logging
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from prometheus_client import multiprocess

from imagerepo.errors import ImagerepoError, UnavailableError
from imagerepo.processes.assembly import Shape
from imagerepo.processes.attendant import DUTIES, Attendant
from imagerepo.processes.listeners import Listeners
from imagerepo.processes.sharing import Sharing
from imagerepo.processes.spec import Kind, Name, Spec, names

log = logging.getLogger(__name__)

_BACKOFF = 1.0  # seconds before a worker that died at once is started again
_TICK = 0.2  # seconds
_STARTED_WITHIN = 60.0  # seconds

# prometheus-client's multiprocess module carries no types.
_forget_gauges = cast("Callable[[int, str], None]", multiprocess.mark_process_dead)  # pyright: ignore[reportUnknownMemberType]

# Every body is allocated and freed as one block; from the heap, which keeps its pages, this costs half.
_MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20), "MALLOC_ARENA_MAX": "2"}


@dataclass(slots=True)
class _Worker:
    name: Name
    process: subprocess.Popen[str]
    started: float


class Supervisor:
    """Keeps the workers of one server running."""

    def __init__(self, spec: Spec, shape: Shape, listeners: Listeners, lock: int) -> None:
        """Prepare; `lock` is the descriptor of the folder's lock, which the workers hold too."""
        self._spec = spec
        self._shape = shape
        self._listeners = listeners
        self._lock = lock
        self._names = names(spec.workers)
        self.sharing = Sharing.create(spec.sharing, len(self._names))
        self._mine, self._theirs = os.pipe()
        self._workers: list[_Worker] = []
        self._attendants = [Attendant(DUTIES[name], spec, shape, lock, self._mine) for name in shape.attendance]

    def start(self) -> None:
        """Start all workers and wait until they serve. Raises UnavailableError."""
        self._spec.file.write_text(self._spec.model_dump_json())
        self._workers = [self._spawn(name) for name in self._names]
        for worker in self._workers:
            self._await_ready(worker)

    def tick(self) -> None:
        """Look after the workers once."""
        for place, worker in enumerate(self._workers):
            if worker.process.poll() is not None:
                self._replace(place, worker)
        for attendant in self._attendants:
            attendant.tick()
        self._shape.upkeep()
        time.sleep(_TICK)

    def drain(self) -> None:
        """End: associations first, while HTTP still tells that we are not ready; then HTTP. Within the grace."""
        self.sharing.drain()
        for attendant in self._attendants:
            attendant.tell()
        time.sleep(self._spec.settings.drain_delay)
        grace = self._spec.settings.drain_grace
        begun = time.monotonic()
        # Associations may take all of it; HTTP begins to end when they have, or after half.
        self._tell(Kind.DIMSE)
        self._await(Kind.DIMSE, begun + grace / 2)
        self._tell(Kind.HTTP)
        self._await(Kind.DIMSE, begun + grace)
        self._await(Kind.HTTP, max(begun + grace, time.monotonic() + 1.0))
        self.kill()

    def _tell(self, kind: Kind) -> None:
        self._listeners.close(kind)  # whoever comes now is refused at once
        for worker in self._workers:
            if worker.name.kind is kind:
                worker.process.terminate()

    def _await(self, kind: Kind, deadline: float) -> None:
        for worker in self._workers:
            if worker.name.kind is kind:
                _wait_until(worker.process, deadline)

    def kill(self) -> None:
        """End whatever still runs."""
        for attendant in self._attendants:
            attendant.stop()
        for worker in self._workers:
            if worker.process.poll() is None:
                log.warning("worker.killed", extra={"worker": str(worker.name)})
                worker.process.kill()
                worker.process.wait()
        os.close(self._theirs)
        os.close(self._mine)

    def _spawn(self, name: Name) -> _Worker:
        listeners = self._listeners.descriptors(name.kind)
        module = f"imagerepo.processes.{name.kind}_worker"
        command = [sys.executable, "-m", module, str(name.ordinal), str(self._spec.file)]
        process = subprocess.Popen(  # noqa: S603 - our own module
            [*command, str(self._mine), *map(str, listeners)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=(*listeners, self._mine, self._lock),
            env={**_MALLOC, **os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self._shape.metrics)},
        )
        return _Worker(name, process, time.monotonic())

    def _await_ready(self, worker: _Worker) -> None:
        assert worker.process.stdout is not None
        readable, _, _ = select.select([worker.process.stdout], [], [], _STARTED_WITHIN)
        if not readable or worker.process.stdout.readline().strip() != "ready":
            raise UnavailableError(f"worker {worker.name} did not start; its error is above")

    def _replace(self, place: int, worker: _Worker) -> None:
        log.error("worker.died", extra={"worker": str(worker.name), "status": worker.process.returncode})
        _forget_gauges(worker.process.pid, str(self._shape.metrics))
        self.sharing.set_count(self._names.index(worker.name), 0)
        if time.monotonic() - worker.started < _BACKOFF:
            time.sleep(_BACKOFF)
        try:
            self._shape.recover(str(worker.name))
            fresh = self._spawn(worker.name)
            self._workers[place] = fresh
            self._await_ready(fresh)
        except (ImagerepoError, sqlite3.Error, OSError) as error:
            log.error("worker.not_restarted", extra={"worker": str(worker.name), "reason": str(error)})  # noqa: TRY400


def _wait_until(process: subprocess.Popen[str], deadline: float) -> None:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        log.info("worker.still_ending", extra={"pid": process.pid})


def on_signals(stop: list[int]) -> None:
    """Note SIGTERM and SIGINT in `stop`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda got, _: stop.append(got))


def default_workers() -> int:
    """As many as cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
