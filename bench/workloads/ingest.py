"""Storing: C-STORE, STOW-RS, and senders that leave Nagle's algorithm on."""

from bench.clients import cstore, dcmtk, stow
from bench.clients.dcmtk import Sender
from bench.clients.fleet import Run
from bench.generate import LARGE, SMALL, Instance, Shape
from bench.servers.dicomweb import Repository
from bench.servers.imagerepo import Imagerepo
from bench.servers.orthanc import Orthanc
from bench.servers.process import Nagle, Server
from bench.servers.receivers import Pynetdicom, Receiver, Sink, Storescp
from bench.workloads.model import Better, Ground, Measurement, Metric, Workload, observed
from bench.workloads.retrieve import repository

BATCH = 50
"""Instances in one STOW-RS request."""

NAGLE_INSTANCES = 100
RATE = Metric("instances", "1/s", Better.HIGHER)


def _seconds(run: Run) -> float:
    return run.seconds


def c_store(kind: type[Server], ground: Ground, shape: Shape, associations: int) -> list[Measurement]:
    """Store over so many associations at once."""
    instances = ground.corpus(shape, ground.instances)
    with ground.server(kind) as server:
        run, cost = observed(
            server, lambda: cstore.send(server.dicom_port, server.ae_title, instances, associations), _seconds
        )
        if isinstance(server, Repository | Receiver):
            server.check_holds(instances)
    rate = len(instances) / run.seconds
    return [Measurement(RATE.name, rate, run.client_cores, cost.cores, cost.peak)]


def _stow(kind: type[Server], ground: Ground, shape: Shape) -> list[Measurement]:
    instances = ground.corpus(shape, ground.instances)
    with ground.server(repository(kind)) as server:
        measured = stow_into(server, instances, BATCH, 1)
    return [measured]


def stow_into(server: Repository, instances: list[Instance], batch: int, connections: int) -> Measurement:
    """Store in requests of `batch`, one after the other on each connection; see that all is there."""
    run, cost = observed(
        server, lambda: stow.send(server.http_port, server.root, instances, batch, connections), _seconds
    )
    server.check_holds(instances)
    return Measurement(RATE.name, len(instances) / run.seconds, run.client_cores, cost.cores, cost.peak)


def _nagle(kind: type[Server], ground: Ground) -> list[Measurement]:
    instances = ground.corpus(SMALL, NAGLE_INSTANCES)
    measured: list[Measurement] = []
    for sender in Sender:
        with ground.server(kind, Nagle.AS_IT_COMES) as server:
            run, cost = observed(
                server,
                lambda sender=sender, server=server: dcmtk.send(sender, server.dicom_port, server.ae_title, instances),
                _seconds,
            )
            if isinstance(server, Repository):
                server.check_holds(instances, Instance.pixels)  # dcmtk's senders write the header anew
            elif isinstance(server, Receiver):
                server.check_holds(instances)
        measured.append(Measurement(sender.value, run.seconds, run.client_cores, cost.cores, cost.peak))
    return measured


WORKLOADS = (
    Workload(
        "cstore-1",
        "C-STORE of 500 x 512 KB over 1 association",
        (RATE,),
        (Imagerepo, Orthanc, Storescp, Pynetdicom, Sink),
        lambda kind, ground: c_store(kind, ground, LARGE, 1),
    ),
    Workload(
        "cstore-4",
        "C-STORE of 500 x 512 KB over 4 associations",
        (RATE,),
        (Imagerepo, Orthanc, Storescp, Pynetdicom, Sink),
        lambda kind, ground: c_store(kind, ground, LARGE, 4),
    ),
    Workload(
        "cstore-small-4",
        "C-STORE of 500 x 20 KB over 4 associations",
        (RATE,),
        (Imagerepo, Orthanc, Storescp, Pynetdicom),
        lambda kind, ground: c_store(kind, ground, SMALL, 4),
    ),
    Workload(
        "stow-50",
        "STOW-RS of 500 x 512 KB in requests of 50, 1 connection",
        (RATE,),
        (Imagerepo, Orthanc),
        lambda kind, ground: _stow(kind, ground, LARGE),
    ),
    Workload(
        "stow-small",
        "STOW-RS of 500 x 20 KB in requests of 50, 1 connection",
        (RATE,),
        (Imagerepo, Orthanc),
        lambda kind, ground: _stow(kind, ground, SMALL),
    ),
    Workload(
        "nagle",
        "Debian's storescu and dcmsend, environment untouched on both sides, 100 x 20 KB over 1 association",
        tuple(Metric(sender.value, "s", Better.LOWER) for sender in Sender),
        (Imagerepo, Orthanc, Storescp),
        _nagle,
        programs=tuple(sender.value for sender in Sender),
    ),
)
