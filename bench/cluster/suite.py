"""Everything that is measured on Ceph and PostgreSQL: `python -m bench cluster`."""

from bench.cluster.ground import on_bed
from bench.cluster.workloads import archive, objects
from bench.suite import WORK, Suite
from bench.workloads.model import Ground

CLUSTER = Suite(
    command="python -m bench cluster",
    name="cluster",
    title="Speed on Ceph and PostgreSQL",
    introduction="Made by `python -m bench cluster`, as `make bench` does too; bench/README.md says how each figure "
    "comes about. One test bed for all: Ceph (six OSDs in memory, three copies), PostgreSQL and HAProxy on the same "
    "machine as servers and clients, which share its cores. Each repeat has an empty database and an empty bucket. "
    "Machines differ: compare figures of one run only. Cores: 1.00 is one core busy all the time; those of a server "
    "include the bed's daemons that work for it, its memory does not.",
    workloads=(*objects.WORKLOADS, *archive.WORKLOADS),
    packages=(
        "ceph-osd",
        "radosgw",
        "postgresql",
        "haproxy",
        "orthanc",
        "orthanc-dicomweb",
        "orthanc-postgresql",
        "wrk",
    ),
    full=Ground(WORK, instances=500, series=2000, seconds=5, scales=(10_000, 5_000_000)),
    quick=Ground(WORK, instances=100, series=200, seconds=2, scales=(10_000, 50_000)),
    stand=on_bed,
)
