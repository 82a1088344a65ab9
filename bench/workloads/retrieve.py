"""Reading: WADO-RS, whole studies, zips, metadata."""

import io
import json
import statistics
import zipfile
from collections.abc import Sequence

from bench.clients import cstore, download, wrk
from bench.clients.download import Download, content
from bench.clients.fleet import ClientError
from bench.clients.wrk import Load, Reads
from bench.generate import LARGE, Instance
from bench.servers.dicomweb import AS_STORED, JSON, Repository
from bench.servers.imagerepo import Imagerepo
from bench.servers.nginx import Nginx
from bench.servers.orthanc import Orthanc
from bench.servers.process import Server
from bench.workloads.model import Better, Ground, Measurement, Metric, Workload, observed

CONNECTIONS = 8
WARM_UP = 1  # seconds of load before the measured one
WARM_READS = 3
PART_10 = bytes(128) + b"DICM"

REQUESTS = Metric("requests", "1/s", Better.HIGHER)
THROUGHPUT = Metric("throughput", "MB/s", Better.HIGHER)
DURATION = Metric("whole", "s", Better.LOWER)
COLD = Metric("first request after ingest", "s", Better.LOWER)
WARM = Metric("repeated", "s", Better.LOWER)


def fill(server: Repository, instances: Sequence[Instance]) -> None:
    """Store what is read afterwards, and see that it is all there."""
    cstore.send(server.dicom_port, server.ae_title, instances, 4)
    server.check_holds(list(instances))


def _repository(kind: type[Server]) -> type[Repository]:
    if not issubclass(kind, Repository):
        raise TypeError(f"{kind.name} has no DICOMweb")
    return kind


def load(server: Server, reads: Reads, ground: Ground) -> list[Measurement]:
    """Warm up, then load a server with requests; return its rate."""
    wrk.load(reads, CONNECTIONS, WARM_UP, ground.scratch)
    seen, cost = observed(
        server, lambda: wrk.load(reads, CONNECTIONS, ground.seconds, ground.scratch), lambda seen: seen.seconds
    )
    return [_rate(seen, cost.cores, cost.peak)]


def _rate(seen: Load, cores: float, peak: int) -> Measurement:
    return Measurement(REQUESTS.name, seen.rate, seen.client_cores, cores, peak)


def _instances(kind: type[Server], ground: Ground) -> list[Measurement]:
    instances = ground.corpus(LARGE, ground.instances)
    smallest = instances[0].path.stat().st_size
    if kind is Nginx:
        with Nginx(ground.work / "data" / Nginx.name, instances[0].path.parent) as files:
            paths = [files.path(instance) for instance in instances]
            return load(files, Reads(files.http_port, paths, "*/*", smallest), ground)
    with ground.server(_repository(kind)) as server:
        fill(server, instances)
        paths = [server.instance(instance) for instance in instances]
        # dcmtk drops or adds a few header bytes when it stores; pixels are all but a thousandth of an instance.
        return load(server, Reads(server.http_port, paths, AS_STORED, LARGE.pixel_bytes), ground)


def _whole(server: Server, path: str, accept: str) -> list[Measurement]:
    got, cost = observed(server, lambda: download.timed(server.http_port, path, accept), lambda got: got.seconds)
    return [
        Measurement(THROUGHPUT.name, got.size / got.seconds / 1e6, got.client_cores, cost.cores, cost.peak),
        Measurement(DURATION.name, got.seconds, got.client_cores, cost.cores, cost.peak),
    ]


def _study(kind: type[Server], ground: Ground) -> list[Measurement]:
    instances = ground.corpus(LARGE, ground.instances)
    with ground.server(_repository(kind)) as server:
        fill(server, instances)
        path = server.study(instances[0].study)
        measured = _whole(server, path, AS_STORED)
        parts = content(server.http_port, path, AS_STORED).count(PART_10)
        if parts != len(instances):
            raise ClientError(f"{server.name} gave {parts} of {len(instances)} instances of a study")
    return measured


def _zip(kind: type[Server], ground: Ground) -> list[Measurement]:
    instances = ground.corpus(LARGE, ground.series)
    with ground.server(_repository(kind)) as server:
        fill(server, instances)
        path = server.series_zip(instances[0].series)
        measured = _whole(server, path, "application/zip")
        if isinstance(server, Imagerepo):
            # Orthanc's takes half a minute to make once more, and is not what is under test.
            with zipfile.ZipFile(io.BytesIO(content(server.http_port, path, "application/zip"))) as archive:
                if len(archive.namelist()) != len(instances) or archive.testzip():
                    raise ClientError(f"the zip of {len(instances)} instances is incomplete or damaged")
    return measured


def _metadata(kind: type[Server], ground: Ground) -> list[Measurement]:
    instances = ground.corpus(LARGE, ground.instances)
    with ground.server(_repository(kind)) as server:
        fill(server, instances)
        path = f"{server.study(instances[0].study)}/metadata"

        def fetch() -> Download:
            return download.timed(server.http_port, path, JSON)

        cold, cold_cost = observed(server, fetch, lambda got: got.seconds)
        warm, warm_cost = observed(
            server, lambda: [fetch() for _ in range(WARM_READS)], lambda all_: sum(got.seconds for got in all_)
        )
        found = len(json.loads(content(server.http_port, path, JSON)))
        if found != len(instances):
            raise ClientError(f"{server.name} gave metadata of {found} of {len(instances)} instances")
    typical = statistics.median(got.seconds for got in warm)
    share = sum(got.client_cpu for got in warm) / sum(got.seconds for got in warm)
    return [
        Measurement(COLD.name, cold.seconds, cold.client_cores, cold_cost.cores, cold_cost.peak),
        Measurement(WARM.name, typical, share, warm_cost.cores, warm_cost.peak),
    ]


WORKLOADS = (
    Workload(
        "wado-instance",
        f"WADO-RS of single instances of 512 KB, {CONNECTIONS} connections (wrk), 500 instances in turn",
        (REQUESTS,),
        (Imagerepo, Orthanc, Nginx),
        _instances,
        programs=("wrk",),
    ),
    Workload(
        "wado-study",
        "WADO-RS of a whole study of 500 x 512 KB, 1 connection",
        (THROUGHPUT, DURATION),
        (Imagerepo, Orthanc),
        _study,
    ),
    Workload(
        "series-zip",
        "a series of 1,000 x 512 KB as a zip file, 1 connection",
        (THROUGHPUT, DURATION),
        (Imagerepo, Orthanc),
        _zip,
    ),
    Workload(
        "metadata-500",
        "WADO-RS metadata of a study of 500 instances, 1 connection, not compressed",
        (COLD, WARM),
        (Imagerepo, Orthanc),
        _metadata,
    ),
)
