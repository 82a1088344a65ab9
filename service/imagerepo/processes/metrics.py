"""What /metrics says: the counters of all processes, and what one query of the index tells."""

from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from imagerepo.ports.index import Index


class _FromIndex(Collector):
    def __init__(self, index: Index) -> None:
        self._index = index

    def collect(self) -> Iterable[GaugeMetricFamily]:
        stored = GaugeMetricFamily(
            "imagerepo_stored_bytes", "Bytes of instances kept.", labels=["institution", "tier"]
        )
        for institution, holdings in self._index.holdings().items():
            for tier, size in holdings.bytes_by_tier.items():
                stored.add_metric([institution, tier], size)
        yield stored
        yield GaugeMetricFamily("imagerepo_tasks_pending", "Deferred work that waits.", labels=["kind"])


def render(folder: Path, index: Index) -> bytes:
    """The text that Prometheus scrapes; blocks for a few milliseconds."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    registry.register(_FromIndex(index))
    return generate_latest(registry)
