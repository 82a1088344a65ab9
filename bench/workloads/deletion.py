"""Deleting a study."""

import http.client
import time
from http import HTTPStatus

from bench.clients.fleet import ClientError
from bench.generate import LARGE
from bench.servers.imagerepo import Imagerepo
from bench.servers.orthanc import Orthanc
from bench.servers.process import Server
from bench.workloads.model import Better, Ground, Measurement, Metric, Workload, observed
from bench.workloads.retrieve import fill, repository

GONE = Metric("gone", "s", Better.LOWER)
TIMEOUT = 60  # seconds


def _delete(port: int, path: str) -> float:
    """Seconds from the request to its answer, over a new connection. Raises ClientError."""
    start = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request("DELETE", path)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    if answer.status not in {HTTPStatus.OK, HTTPStatus.NO_CONTENT}:
        raise ClientError(f"DELETE {path}: {answer.status}")
    return time.perf_counter() - start


def _study(kind: type[Server], ground: Ground) -> list[Measurement]:
    instances = ground.corpus(LARGE, ground.instances)
    with ground.server(repository(kind)) as server:
        fill(server, instances)
        server.rest()
        path = server.deletion(instances[0].study)
        seconds, cost = observed(server, lambda: _delete(server.http_port, path), lambda seconds: seconds)
        if server.count():
            raise ClientError(f"{server.name} says that the study is gone, and still finds it")
    return [Measurement(GONE.name, seconds, 0.0, cost.cores, cost.peak)]


WORKLOADS = (
    Workload(
        "delete-500",
        "DELETE of a study of 500 x 512 KB by HTTP, from the request to its answer",
        (GONE,),
        (Imagerepo, Orthanc),
        _study,
    ),
)
