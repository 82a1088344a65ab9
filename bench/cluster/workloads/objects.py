"""Bytes through the service against bytes without it, and series as bundles against single objects."""

from bench.clients import cstore, stow
from bench.clients.fleet import ClientError, Run
from bench.clients.wrk import Reads
from bench.cluster.ground import BedGround
from bench.cluster.raw import Obstore, obstore_on
from bench.cluster.replicas import Replica, Singly
from bench.generate import LARGE, LONG, SMALL
from bench.servers.dicomweb import AS_STORED
from bench.workloads.ingest import RATE, c_store, stow_into
from bench.workloads.model import Better, Measurement, Metric, Subject, Workload, observed
from bench.workloads.retrieve import COLD, COOL, DURATION, FIRST, REQUESTS, THROUGHPUT, WARM, load, metadata, whole

AT_ONCE = 8
WARM_READS = 9
OBJECTS = Metric("objects", "1", Better.LOWER)


def _seconds(run: Run) -> float:
    return run.seconds


def _put_raw(ground: BedGround) -> list[Measurement]:
    instances = ground.corpus(LARGE, ground.instances)
    with obstore_on(ground.bed) as raw:
        run, cost = observed(raw, lambda: raw.put(instances, AT_ONCE), _seconds)
    return [Measurement(RATE.name, len(instances) / run.seconds, run.client_cores, cost.cores)]


def _put_stow(kind: type[Subject], ground: BedGround) -> list[Measurement]:
    if kind is Obstore:
        return _put_raw(ground)
    with ground.server(kind) as server:
        return [stow_into(server, ground.corpus(LARGE, ground.instances), 1, AT_ONCE)]


def _put_c_store(kind: type[Subject], ground: BedGround) -> list[Measurement]:
    return _put_raw(ground) if kind is Obstore else c_store(kind, ground, LARGE, AT_ONCE)


def _get(kind: type[Subject], ground: BedGround) -> list[Measurement]:
    instances = ground.corpus(LARGE, ground.instances)
    if kind is Obstore:
        with obstore_on(ground.bed) as raw:
            raw.put(instances, AT_ONCE)
            run, cost = observed(raw, lambda: raw.get(instances, AT_ONCE, ground.seconds), _seconds)
        return [Measurement(REQUESTS.name, len(run.latencies) / run.seconds, run.client_cores, cost.cores)]
    with ground.server(kind) as server:
        cstore.send(server.dicom_port, server.ae_title, instances, AT_ONCE)
        server.check_holds(instances)
        server.rest()
        paths = [server.instance(instance) for instance in instances]
        smallest = instances[0].path.stat().st_size
        return load(server, Reads(server.http_port, paths, AS_STORED, smallest), ground)


def _series(kind: type[Replica], ground: BedGround) -> list[Measurement]:
    instances = ground.corpus(SMALL, ground.instances)
    with ground.server(kind) as server:
        stow.send(server.http_port, server.root, instances, kind.batch or len(instances))
        server.check_holds(instances)
        server.rest()
        objects = server.objects()
        if (objects == len(instances)) is not (kind is Singly):
            raise ClientError(f"{server.name}: {len(instances)} instances are {objects} objects")
        path = f"{server.study(instances[0].study)}/series/{instances[0].series}"
        return [*whole(server, path, AS_STORED, WARM_READS), Measurement(OBJECTS.name, objects)]


def _long_series(kind: type[Subject], ground: BedGround) -> list[Measurement]:
    instances = ground.corpus(LONG, ground.series)
    if kind is Obstore:
        with obstore_on(ground.bed) as raw:
            run, cost = observed(raw, lambda: raw.put(instances, AT_ONCE), _seconds)
        rate = Measurement(RATE.name, len(instances) / run.seconds, run.client_cores, cost.cores)
        return [rate, Measurement(OBJECTS.name, len(instances))]
    with ground.server(kind) as server:
        stored = stow_into(server, instances, kind.batch or len(instances), 1)
        return [stored, Measurement(OBJECTS.name, server.objects())]


WORKLOADS = (
    Workload(
        "put-stow",
        f"STOW-RS of 500 x 512 KB, one in a request, {AT_ONCE} connections; obstore puts {AT_ONCE} at once",
        (RATE,),
        (Replica, Obstore),
        _put_stow,
    ),
    Workload(
        "put-cstore",
        f"C-STORE of 500 x 512 KB over {AT_ONCE} associations; obstore puts {AT_ONCE} at once",
        (RATE,),
        (Replica, Obstore),
        _put_c_store,
    ),
    Workload(
        "get",
        f"WADO-RS of single instances of 512 KB, {AT_ONCE} connections (wrk); obstore gets {AT_ONCE} at once",
        (REQUESTS,),
        (Replica, Obstore),
        _get,
        programs=("wrk",),
    ),
    Workload(
        "series-500",
        "WADO-RS of a series of 500 x 20 KB, 1 connection; first, and repeated",
        (FIRST, THROUGHPUT, DURATION, OBJECTS),
        (Replica, Singly),
        _series,
    ),
    Workload(
        "ingest-2000",
        "a series of 2,000 x 20 KB by STOW-RS in one request, and one in a request; "
        f"obstore puts {AT_ONCE} objects at once",
        (RATE, OBJECTS),
        (Replica, Singly, Obstore),
        _long_series,
    ),
    Workload(
        "metadata",
        "WADO-RS metadata of a study of 500 instances, 1 connection, not compressed",
        (COLD, COOL, WARM),
        (Replica,),
        metadata,
    ),
)
