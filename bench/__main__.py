"""Measure the service and its peers: `python -m bench --help`; as replicas `python -m bench cluster --help`."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext

from bench.cluster.suite import CLUSTER
from bench.suite import WORK, Suite, run
from bench.workloads.all import WORKLOADS
from bench.workloads.model import Ground

SPINE = Suite(
    command="python -m bench",
    name="spine",
    title="Speed",
    introduction="Made by `make bench`; bench/README.md says how each figure comes about. Servers run one after the "
    "other in a rotating order, with the same client; each repeat has a fresh server and a fresh folder. Machines "
    "differ: compare figures of one run only. Cores: 1.00 is one core busy all the time.",
    workloads=WORKLOADS,
    packages=("orthanc", "orthanc-dicomweb", "dcmtk", "nginx-light", "wrk"),
    full=Ground(WORK, instances=500, series=1000, seconds=5, scales=(10_000, 1_000_000)),
    quick=Ground(WORK, instances=100, series=100, seconds=2, scales=(1_000, 10_000)),
    stand=nullcontext,
)


def main(arguments: Sequence[str]) -> int:
    """Run what was asked for; return 0 when all of it was measured."""
    if arguments[:1] == [CLUSTER.name]:
        return run(CLUSTER, arguments[1:])
    return run(SPINE, arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
