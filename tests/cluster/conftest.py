"""Three replicas behind the bed's HAProxy, which other tests have for themselves afterwards."""

from collections.abc import Iterator

import pytest

from tests.cluster.replicas import Replicas, replicas
from tests.harness import databases
from tests.harness.receiver import Receiver, free_port, receiving
from tests.testbed.bed import Bed
from tests.testbed.shared import shared_bed

NAMES = ("replica-1", "replica-2", "replica-3")


@pytest.fixture(scope="session")
def bed() -> Bed:
    return shared_bed()


@pytest.fixture(scope="module")
def archive() -> Receiver:
    """Where C-MOVE may send to, and where what the sender FORWARDED sends is forwarded to."""
    return Receiver()


@pytest.fixture(scope="module")
def cluster(bed: Bed, archive: Receiver, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """Bytes of what is deleted go after two seconds; HTTP connections end after one or two."""
    port = free_port()
    settings = {
        "nodes": [{"name": "archive", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": port, "associations": 2}],
        "forwarding": {"rules": [{"name": "all", "to": "archive", "senders": ["FORWARDED"]}]},
        "deletion": {"reclaim_delay": 2.0},
        "http": {"connection_age": 2.0},
    }
    with receiving(archive, port), replicas(bed, tmp_path_factory.mktemp("cluster"), **settings) as made:
        made.start(*NAMES)
        yield made


@pytest.fixture
def url() -> Iterator[str]:
    """A database with the schema, and nothing else in it."""
    with databases.with_schema() as made:
        yield made


@pytest.fixture
def three(cluster: Replicas) -> Replicas:
    """All three run; who ended one starts it again."""
    missing = [name for name in NAMES if name not in cluster.servers]
    if missing:
        cluster.start(*missing)
    return cluster


def pytest_exception_interact(node: pytest.Item | pytest.Collector, report: pytest.TestReport) -> None:
    """Show what the replicas said."""
    made = getattr(node, "funcargs", {}).get("three")
    if isinstance(made, Replicas) and isinstance(report, pytest.TestReport):
        report.sections.append(("replicas", made.said()))
