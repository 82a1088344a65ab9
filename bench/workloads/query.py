"""Searching, and how searching and storing fare when a great deal is indexed."""

import json

from bench import filler
from bench.clients import cstore, query_retrieve, wrk
from bench.clients.download import content
from bench.clients.fleet import ClientError
from bench.clients.query_retrieve import Keys
from bench.clients.wrk import Reads
from bench.generate import MANY_STUDIES, SMALL
from bench.servers.dicomweb import JSON, Repository
from bench.servers.imagerepo import Imagerepo
from bench.servers.orthanc import Orthanc
from bench.servers.process import Nagle, Server
from bench.workloads.model import Better, Ground, Measurement, Metric, Workload, observed
from bench.workloads.retrieve import CONNECTIONS, REQUESTS, fill, load

PAGE = 20
"""Studies in one answer."""

FEWEST_STUDIES = 10
"""That the smallest scale, of `--quick`, has."""

_ROUNDS = 20
"""How often the questions of `scale` are asked: of 30 answers one that something else held up would be the p95."""

SMALLEST_STUDY = 100  # bytes of DICOM JSON; less is not a study


def qido(kind: type[Server], ground: Ground) -> list[Measurement]:
    """Ask for pages of studies, many at once."""
    if not issubclass(kind, Repository):
        raise TypeError(f"{kind.name} has no QIDO-RS")
    instances = ground.corpus(MANY_STUDIES, MANY_STUDIES.studies * MANY_STUDIES.instances_per_study)
    with ground.server(kind) as server:
        fill(server, instances)
        path = f"{server.root}/studies?limit={PAGE}"
        found = len(json.loads(content(server.http_port, path, JSON)))
        if found != PAGE:
            raise ClientError(f"{server.name} answered limit={PAGE} with {found} studies")
        return load(server, Reads(server.http_port, [path], JSON, PAGE * SMALLEST_STUDY), ground)


class _Filled(Imagerepo):
    """Ours, started on a folder that already holds many instances."""

    def __init__(self, ground: Ground, instances: int) -> None:
        super().__init__(ground.work / "data" / self.name, Nagle.OFF)
        self.instances = instances
        self.corpus = ground.work / "corpus"

    def populate(self) -> None:
        """Put them there."""
        super().populate()
        filler.fill(self.folder / "data", self.instances, self.corpus)


def _questions() -> list[bytes]:
    """C-FIND by name with a wildcard at both ends, by date and by Patient ID, in turn; each of one study or two."""
    asked: list[bytes] = []
    for study in range(FEWEST_STUDIES):
        asked += (
            Keys(patient_name=f"*{study:04}^*").encode(),
            Keys(study_date=filler.day_of(study).strftime("%Y%m%d")).encode(),
            Keys(patient_id=f"PID{study:08}").encode(),
        )
    return asked


def _p95(latencies: tuple[float, ...]) -> float:
    return sorted(latencies)[int(len(latencies) * 0.95)]


def _scale(_kind: type[Server], ground: Ground) -> list[Measurement]:
    instances = ground.corpus(SMALL, ground.instances)
    found: list[tuple[float, float, float]] = []
    for indexed in ground.scales:
        with _Filled(ground, indexed) as server:
            reads = Reads(server.http_port, [f"{server.root}/studies?limit={PAGE}"], JSON, PAGE * SMALLEST_STUDY)
            wrk.load(reads, CONNECTIONS, 1, ground.scratch)
            seen = wrk.load(reads, CONNECTIONS, ground.seconds, ground.scratch)
            run, _ = observed(
                server,
                lambda server=server: cstore.send(server.dicom_port, server.ae_title, instances, 1),
                lambda run: run.seconds,
            )
            asked = query_retrieve.finds(server.dicom_port, server.ae_title, _questions() * _ROUNDS, None)
            found.append((seen.p95, _p95(run.latencies), _p95(asked.latencies)))
    few, many = found
    values = [value for one, other in zip(few, many, strict=True) for value in (one, other, other / one)]
    return [Measurement(metric.name, value) for metric, value in zip(SCALE_METRICS, values, strict=True)]


SCALE_METRICS = tuple(
    Metric(f"{operation} p95, {size}", unit, Better.LOWER)
    for operation in ("QIDO", "C-STORE", "C-FIND")
    for size, unit in (("few", "s"), ("many", "s"), ("many ÷ few", "x"))
)

WORKLOADS = (
    Workload(
        "qido",
        f"QIDO-RS of studies with limit={PAGE} out of 100 studies of 5 instances, {CONNECTIONS} connections (wrk)",
        (REQUESTS,),
        (Imagerepo, Orthanc),
        qido,
        programs=("wrk",),
    ),
    Workload(
        "scale",
        "p95 of QIDO-RS (8 connections), C-STORE (1 association, 20 KB) and C-FIND (names by infix, dates, IDs), "
        "few (10,000) and many (1,000,000) indexed",
        SCALE_METRICS,
        (Imagerepo,),
        _scale,
        programs=("wrk",),
        single=True,
    ),
)
