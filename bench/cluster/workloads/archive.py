"""As an archive: four replicas, one, and Orthanc with PostgreSQL; and searching where a great deal is indexed."""

import json
import statistics
from collections.abc import Mapping, Sequence

from bench.clients import wrk
from bench.clients.download import content
from bench.clients.fleet import ClientError
from bench.clients.wrk import Reads
from bench.cluster.filler import Filled
from bench.cluster.ground import BedGround
from bench.cluster.orthanc import OrthancPostgres
from bench.cluster.replicas import FourReplicas, Replica
from bench.generate import EIGHT_STUDIES, SMALL
from bench.servers.dicomweb import JSON
from bench.workloads.ingest import BATCH, RATE, c_store, stow_into
from bench.workloads.model import Better, Measurement, Metric, Subject, Workload
from bench.workloads.query import PAGE, SMALLEST_STUDY, qido
from bench.workloads.retrieve import CONNECTIONS, REQUESTS

SENDERS = 4
ROUNDS = 3
ASKED = 10
"""Different values that each kind of question asks for, in turn."""
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "newest": (f"/studies?limit={PAGE}",),
    "Patient ID": tuple(f"/studies?PatientID=PID{one}" for one in range(ASKED)),
    "part of a name": tuple(f"/studies?PatientName=*{one:07}*&limit={PAGE}" for one in range(ASKED)),
    "dates": tuple(f"/studies?StudyDate=200501{one + 1:02}-200501{one + 21}&limit={PAGE}" for one in range(ASKED)),
    "series of a study": tuple(f"/studies/1.2.{one}/series" for one in range(ASKED)),
}
"""Each finds as much among few as among many."""


def _stow(kind: type[Subject], ground: BedGround) -> list[Measurement]:
    instances = ground.corpus(EIGHT_STUDIES, ground.series)
    with ground.server(kind) as server:
        return [stow_into(server, instances, BATCH, SENDERS)]


def _scale(_kind: type[Subject], ground: BedGround) -> list[Measurement]:
    """Ask both in turn, a few times over, so that whatever else the machine does falls on both."""
    few, many = ground.scales
    measured: list[Measurement] = []
    with Filled(ground, few) as small, Filled(ground, many) as large:
        for name, paths in QUESTIONS.items():
            asked = {server: _reads(server, paths) for server in (small, large)}
            rounds = [[_p95(reads, ground) for reads in asked.values()] for _ in range(ROUNDS)]
            low, high, times = (
                statistics.median(one) for one in zip(*((a, b, b / a) for a, b in rounds), strict=True)
            )
            values = zip(_metrics(name), (low, high, times), strict=True)
            measured += [Measurement(metric.name, value) for metric, value in values]
    return measured


def _reads(server: Filled, paths: Sequence[str]) -> Reads:
    """Questions that find something there."""
    reads = Reads(server.http_port, [server.root + path for path in paths], JSON, SMALLEST_STUDY)
    for path in reads.paths:
        if not json.loads(content(server.http_port, path, JSON) or b"[]"):
            raise ClientError(f"{path} finds nothing among {server.studies} studies")
    return reads


def _p95(reads: Reads, ground: BedGround) -> float:
    wrk.load(reads, CONNECTIONS, 1, ground.scratch)
    return wrk.load(reads, CONNECTIONS, ground.seconds, ground.scratch).p95


def _metrics(question: str) -> tuple[Metric, Metric, Metric]:
    return (
        Metric(f"{question}, p95, few", "s", Better.LOWER),
        Metric(f"{question}, p95, many", "s", Better.LOWER),
        Metric(f"{question}, p95, many ÷ few", "x", Better.LOWER),
    )


WORKLOADS = (
    Workload(
        "stow-4-replicas",
        f"STOW-RS of 8 studies of 250 x 20 KB in requests of {BATCH}, {SENDERS} connections",
        (RATE,),
        (FourReplicas, OrthancPostgres),
        _stow,
    ),
    Workload(
        "cstore-4-replicas",
        f"C-STORE of 500 x 20 KB over {SENDERS} associations",
        (RATE,),
        (FourReplicas, OrthancPostgres),
        lambda kind, ground: c_store(kind, ground, SMALL, SENDERS),
    ),
    Workload(
        "qido-postgres",
        f"QIDO-RS of studies with limit={PAGE} out of 100 studies of 5 instances, {CONNECTIONS} connections (wrk)",
        (REQUESTS,),
        (Replica, OrthancPostgres),
        qido,
        programs=("wrk",),
    ),
    Workload(
        "qido-scale",
        f"p95 of QIDO-RS, {CONNECTIONS} connections (wrk), few (10,000) and many (5,000,000) instances indexed",
        tuple(metric for name in QUESTIONS for metric in _metrics(name)),
        (Replica,),
        _scale,
        programs=("wrk",),
        single=True,
    ),
)
