"""C-FIND, C-MOVE and C-GET."""

import statistics

from bench.clients import from_memory, query_retrieve
from bench.clients.fleet import ClientError, Run
from bench.clients.query_retrieve import Keys
from bench.generate import LARGE, THOUSAND_STUDIES
from bench.servers.imagerepo import Imagerepo
from bench.servers.orthanc import Orthanc
from bench.servers.process import Server
from bench.servers.receivers import Sink
from bench.workloads.model import Better, Ground, Measurement, Metric, Workload, observed
from bench.workloads.retrieve import fill, repository

ASKED = 5
"""Times that the same question is asked over one association."""
READS = 5
"""Retrievals after the first."""
WHOLE = Metric("whole answer", "s", Better.LOWER)
FIRST = Metric("first after ingest", "1/s", Better.HIGHER)
RATE = Metric("instances", "1/s", Better.HIGHER)


SHARE = Metric("of our sender from memory", "x", Better.HIGHER)


def _find(kind: type[Server], ground: Ground) -> list[Measurement]:
    studies = THOUSAND_STUDIES.studies
    instances = ground.corpus(THOUSAND_STUDIES, studies)
    with ground.server(repository(kind)) as server:
        # One association: over four, Orthanc answers out of resources at times when each instance is a new study.
        fill(server, instances, associations=1)
        question = [Keys().encode()]
        query_retrieve.finds(server.dicom_port, server.ae_title, question, studies)
        run, cost = observed(
            server,
            lambda: query_retrieve.finds(server.dicom_port, server.ae_title, question * ASKED, studies),
            lambda run: run.seconds,
        )
    typical = sorted(run.latencies)[ASKED // 2]
    return [Measurement(WHOLE.name, typical, run.client_cores, cost.cores, cost.peak)]


def _move(kind: type[Server], ground: Ground) -> list[Measurement]:
    with Sink(ground.work / "data" / "destination") as sink:
        measured = _retrieve(kind, ground, sink)
        if kind is Imagerepo:
            instances = ground.corpus(LARGE, ground.instances)
            ceiling = statistics.median(from_memory.rate(sink.dicom_port, instances) for _ in range(READS))
            measured.append(Measurement(SHARE.name, measured[-1].value / ceiling))
        return measured


def _get(kind: type[Server], ground: Ground) -> list[Measurement]:
    return _retrieve(kind, ground, None)


def _retrieve(kind: type[Server], ground: Ground, sink: Sink | None) -> list[Measurement]:
    instances = ground.corpus(LARGE, ground.instances)
    server = ground.server(repository(kind))
    server.destination = sink
    title = None if sink is None else sink.ae_title
    with server:
        fill(server, instances)
        if len({one.study for one in instances}) != 1:
            raise ClientError("the corpus is of one study")

        def once() -> Run:
            return query_retrieve.retrieve(
                server.dicom_port, server.ae_title, instances[0].study, title, len(instances)
            )

        first, first_cost = observed(server, once, lambda run: run.seconds)
        server.rest()
        runs, cost = observed(
            server, lambda: [once() for _ in range(READS)], lambda all_: sum(x.seconds for x in all_)
        )
    typical = sorted(runs, key=lambda run: run.seconds)[READS // 2]
    return [
        Measurement(FIRST.name, len(instances) / first.seconds, first.client_cores, first_cost.cores, first_cost.peak),
        Measurement(RATE.name, len(instances) / typical.seconds, typical.client_cores, cost.cores, cost.peak),
    ]


WORKLOADS = (
    Workload("cfind-1000", "C-FIND of 1,000 studies, 1 association", (WHOLE,), (Imagerepo, Orthanc), _find),
    Workload(
        "cmove-500",
        "C-MOVE of 500 x 512 KB to a destination that answers and throws away; first, and repeated",
        (FIRST, RATE, SHARE),
        (Imagerepo, Orthanc),
        _move,
    ),
    Workload(
        "cget-500",
        "C-GET of 500 x 512 KB over 1 association; first, and repeated",
        (FIRST, RATE),
        (Imagerepo, Orthanc),
        _get,
    ),
)
