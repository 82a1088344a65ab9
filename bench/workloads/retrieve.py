"""Reading: WADO-RS, whole studies, zips, metadata."""

import io
import json
import statistics
import time
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
from bench.workloads.model import Better, Ground, Measurement, Metric, Workload, observed, settle

CONNECTIONS = 8
WARM_UP = 3  # seconds of load before the measured one
WARM_READS = 9
LATER = 2.0  # seconds after ingest
PART_10 = bytes(128) + b"DICM"

REQUESTS = Metric("requests", "1/s", Better.HIGHER)
THROUGHPUT = Metric("throughput", "MB/s", Better.HIGHER)
DURATION = Metric("whole", "s", Better.LOWER)
FIRST = Metric("first read after ingest", "MB/s", Better.HIGHER)
COLD = Metric("first request right after ingest", "s", Better.LOWER)
COOL = Metric(f"first request {LATER:g} s after ingest", "s", Better.LOWER)
WARM = Metric("repeated", "s", Better.LOWER)


def fill(server: Repository, instances: Sequence[Instance], associations: int = 4) -> None:
    """Store what is read afterwards, and see that it is all there."""
    cstore.send(server.dicom_port, server.ae_title, instances, associations)
    server.check_holds(list(instances))


def repository(kind: type[Server]) -> type[Repository]:
    """The server as one that stores, finds and gives back. Raises TypeError."""
    if not issubclass(kind, Repository):
        raise TypeError(f"{kind.name} is no repository")
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
    with ground.server(repository(kind)) as server:
        fill(server, instances)
        server.rest()
        paths = [server.instance(instance) for instance in instances]
        # dcmtk drops or adds a few header bytes when it stores; pixels are all but a thousandth of an instance.
        return load(server, Reads(server.http_port, paths, AS_STORED, LARGE.pixel_bytes), ground)


def whole(server: Server, path: str, accept: str, further: int = WARM_READS) -> list[Measurement]:
    """The first read, which may come from the disk, then further ones."""

    def fetch() -> Download:
        return download.timed(server.http_port, path, accept)

    first, first_cost = observed(server, fetch, lambda got: got.seconds)
    server.rest()
    all_, cost = observed(server, lambda: [fetch() for _ in range(further)], _seconds)
    typical = sorted(all_, key=lambda got: got.seconds)[len(all_) // 2]
    share = sum(got.client_cpu for got in all_) / _seconds(all_)
    return [
        Measurement(FIRST.name, _rate_of(first), first.client_cores, first_cost.cores, first_cost.peak),
        Measurement(THROUGHPUT.name, _rate_of(typical), share, cost.cores, cost.peak),
        Measurement(DURATION.name, typical.seconds, share, cost.cores, cost.peak),
    ]


def _rate_of(got: Download) -> float:
    return got.size / got.seconds / 1e6


def _seconds(all_: Sequence[Download]) -> float:
    return sum(got.seconds for got in all_)


def _study(kind: type[Server], ground: Ground) -> list[Measurement]:
    instances = ground.corpus(LARGE, ground.instances)
    with ground.server(repository(kind)) as server:
        fill(server, instances)
        path = server.study(instances[0].study)
        measured = whole(server, path, AS_STORED)
        parts = content(server.http_port, path, AS_STORED).count(PART_10)
        if parts != len(instances):
            raise ClientError(f"{server.name} gave {parts} of {len(instances)} instances of a study")
    return measured


def _zip(kind: type[Server], ground: Ground) -> list[Measurement]:
    instances = ground.corpus(LARGE, ground.series)
    with ground.server(repository(kind)) as server:
        fill(server, instances)
        path = server.series_zip(instances[0].series)
        # Orthanc's takes half a minute each time.
        measured = whole(server, path, "application/zip", WARM_READS if isinstance(server, Imagerepo) else 1)
        if isinstance(server, Imagerepo):  # the other is not under test
            with zipfile.ZipFile(io.BytesIO(content(server.http_port, path, "application/zip"))) as archive:
                if len(archive.namelist()) != len(instances) or archive.testzip():
                    raise ClientError(f"the zip of {len(instances)} instances is incomplete or damaged")
    return measured


def metadata(kind: type[Server], ground: Ground) -> list[Measurement]:
    """The first request as soon as the last instance is acknowledged; on another server a moment later; repeated."""
    instances = ground.corpus(LARGE, ground.instances)
    measured: list[Measurement] = []
    for metric, pause in ((COLD, 0.0), (COOL, LATER)):
        with ground.server(repository(kind)) as server:
            path = f"{server.study(instances[0].study)}/metadata"

            def fetch(port: int = server.http_port, path: str = path) -> Download:
                return download.timed(port, path, JSON)

            settle()
            cstore.send(server.dicom_port, server.ae_title, instances, 4)
            time.sleep(pause)
            before = server.usage()
            first = fetch()
            after = server.usage()
            cores = (after.cpu - before.cpu) / first.seconds
            measured.append(Measurement(metric.name, first.seconds, first.client_cores, cores, after.peak_resident))
            if metric is COOL:
                server.rest()
                warm, cost = observed(server, lambda fetch=fetch: [fetch() for _ in range(WARM_READS)], _seconds)
                typical = statistics.median(got.seconds for got in warm)
                share = sum(got.client_cpu for got in warm) / _seconds(warm)
                measured.append(Measurement(WARM.name, typical, share, cost.cores, cost.peak))
            server.check_holds(list(instances))
            found = len(json.loads(content(server.http_port, path, JSON)))
            if found != len(instances):
                raise ClientError(f"{server.name} gave metadata of {found} of {len(instances)} instances")
    return measured


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
        "WADO-RS of a whole study of 500 x 512 KB, 1 connection; first, and repeated",
        (FIRST, THROUGHPUT, DURATION),
        (Imagerepo, Orthanc),
        _study,
    ),
    Workload(
        "series-zip",
        "a series of 1,000 x 512 KB as a zip file, 1 connection; first, and repeated",
        (FIRST, THROUGHPUT, DURATION),
        (Imagerepo, Orthanc),
        _zip,
    ),
    Workload(
        "metadata-500",
        "WADO-RS metadata of a study of 500 instances, 1 connection, not compressed",
        (COLD, COOL, WARM),
        (Imagerepo, Orthanc),
        metadata,
    ),
)
