"""What /metrics says: the counters of all processes, and what queries of index and tasks tell."""

import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from imagerepo import telemetry
from imagerepo.errors import UnavailableError
from imagerepo.ports.index import Index
from imagerepo.ports.tasks import Tasks

log = logging.getLogger(__name__)


class _Stored(Collector):
    def __init__(self, index: Index, tasks: Tasks, check: Callable[[], None]) -> None:
        self._index = index
        self._tasks = tasks
        self._check = check

    def collect(self) -> Iterable[GaugeMetricFamily]:
        try:
            self._check()
            held, pending = self._index.holdings(), self._tasks.pending()
        except UnavailableError as error:
            # The counters are wanted all the more.
            log.warning("metrics.incomplete", extra={"reason": str(error)})
            return
        stored = GaugeMetricFamily(
            "imagerepo_stored_bytes", "Bytes of instances kept.", labels=["institution", "tier"]
        )
        for institution, holdings in held.items():
            for tier, size in holdings.bytes_by_tier.items():
                stored.add_metric([institution, tier], size)
        yield stored
        waiting = GaugeMetricFamily("imagerepo_tasks_pending", "Deferred work that waits.", labels=["kind"])
        for kind, count in pending.items():
            waiting.add_metric([kind], count)
        yield waiting


def back_with_blocks(folder: Path, institution: str) -> None:
    """Give this process's metric files their blocks on the disk now.

    They are maps of sparse files: on a disk that is full, the first write to a hole would end the process (SIGBUS).
    """
    telemetry.ingest_instances.labels(institution, "stored")  # makes the files of counters
    telemetry.ingest_step_duration.labels("commit")  # and of histograms
    for path in folder.glob(f"*_{os.getpid()}.db"):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size)
        except OSError as error:
            log.warning("metrics.not_backed", extra={"reason": os.strerror(error.errno or 0)})
        finally:
            os.close(descriptor)


def render(folder: Path, index: Index, tasks: Tasks, check: Callable[[], None]) -> bytes:
    """The text that Prometheus scrapes; blocks for a few milliseconds.

    Args:
        folder: prometheus-client's multiprocess folder.
        index: says what is stored.
        tasks: say what waits.
        check: raises UnavailableError where these two cannot be asked now.
    """
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    registry.register(_Stored(index, tasks, check))
    return generate_latest(registry)
