"""Where the cluster's workloads stand: a test bed, which all servers of a run share."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields

from bench.cluster.on_bed import AnyOnBed
from bench.servers.process import Nagle
from bench.workloads.model import Ground
from tests.testbed.bed import Bed
from tests.testbed.shared import shared_bed


@dataclass(frozen=True, slots=True)
class BedGround(Ground):
    """Ground with Ceph, PostgreSQL and HAProxy under it."""

    bed: Bed

    def server(self, kind: type[AnyOnBed], nagle: Nagle = Nagle.OFF) -> AnyOnBed:
        """Return a server, not started, with a folder, a database and buckets of its own."""
        return kind(self.work / "data" / kind.name, self.bed, nagle)


@contextmanager
def on_bed(ground: Ground) -> Iterator[BedGround]:
    """Bring a bed up, which goes with this process."""
    yield BedGround(**{field.name: getattr(ground, field.name) for field in fields(ground)}, bed=shared_bed())
