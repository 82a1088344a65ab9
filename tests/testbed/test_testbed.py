"""The test bed: real Ceph, PostgreSQL and HAProxy, which can be broken and mended."""

import http.client
import json
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.harness.dicom_file import ct
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.server import Server
from tests.testbed import replica
from tests.testbed.bed import Bed
from tests.testbed.plan import DATA_CENTERS, DEVICE_CLASSES, HOST, OSDS
from tests.testbed.shared import shared_bed

pytestmark = pytest.mark.timeout(600)

_WITHIN = 60.0  # seconds
_BODY = bytes(range(256)) * 2048  # 512 KB
_CLIENT = "127.0.0.2"  # an address of the client's own, also on loopback


@pytest.fixture(scope="module")
def bed() -> Bed:
    return shared_bed()


@pytest.fixture
def bucket(bed: Bed) -> Iterator[str]:
    """A bucket, removed with all that is in it."""
    name = f"test-{uuid.uuid4()}"
    with bed.s3(attempts=5) as client:
        client.create_bucket(Bucket=name)
        yield name
        for one in client.list_objects_v2(Bucket=name).get("Contents", []):
            client.delete_object(Bucket=name, Key=one["Key"])
        client.delete_bucket(Bucket=name)


def put(bed: Bed, bucket: str, key: str) -> None:
    with bed.s3(attempts=5) as client:
        client.put_object(Bucket=bucket, Key=key, Body=_BODY)


def stored(bed: Bed, bucket: str, key: str) -> bytes:
    with bed.s3(attempts=5) as client, client.get_object(Bucket=bucket, Key=key)["Body"] as body:
        return body.read()


def await_true(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + _WITHIN
    while not holds():
        assert time.monotonic() < until, holds
        time.sleep(0.05)


def pids(bed: Bed) -> dict[str, int | None]:
    return {one.name: one.pid for one in bed.running()}


def named_at(port: int) -> str:
    """Whom the replica behind HAProxy's DIMSE port takes for its client."""
    with socket.create_connection((HOST, port), _WITHIN, source_address=(_CLIENT, 0)) as connection:
        return connection.makefile("rb").read().decode()


def asked(port: int, path: str) -> tuple[int, str]:
    """An answer through HAProxy's HTTP port."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_WITHIN, source_address=(_CLIENT, 0))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_an_object_is_stored_read_and_deleted_over_s3(bed: Bed, bucket: str) -> None:
    put(bed, bucket, "study/instance")
    assert stored(bed, bucket, "study/instance") == _BODY
    with bed.s3() as client:
        client.delete_object(Bucket=bucket, Key="study/instance")
        with pytest.raises(client.exceptions.NoSuchKey):
            client.get_object(Bucket=bucket, Key="study/instance")


def test_the_role_may_make_tables_and_trigram_indexes_in_its_database(bed: Bed) -> None:
    with bed.postgres.connected() as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        connection.execute("CREATE TEMPORARY TABLE names (name text)")
        connection.execute("CREATE INDEX ON names USING gin (name gin_trgm_ops)")
        connection.execute("INSERT INTO names VALUES (%s)", ("Yamada^Tarou=山田^太郎",))
        assert connection.execute("SELECT name FROM names WHERE name LIKE '%山田%'").fetchall()


def test_crush_has_three_data_centers_of_two_hosts_with_both_device_classes(bed: Bed) -> None:
    tree = {one["id"]: one for one in bed.ceph.ask("osd", "tree")["nodes"]}
    centers = {one["name"]: one for one in tree.values() if one["type"] == "datacenter"}
    assert sorted(centers) == list(DATA_CENTERS)
    for center in centers.values():
        hosts = [tree[child] for child in center["children"]]
        assert [host["type"] for host in hosts] == ["host", "host"]
        osds = [tree[child] for host in hosts for child in host["children"]]
        assert sorted(osd["device_class"] for osd in osds) == sorted(DEVICE_CLASSES)


def test_every_placement_group_has_a_copy_in_each_data_center(bed: Bed) -> None:
    center = {osd.number: osd.data_center for osd in OSDS}
    bed.ceph.await_healthy()
    groups = bed.ceph.ask("pg", "dump", "pgs_brief")["pg_stats"]
    assert groups
    for group in groups:
        assert sorted(center[number] for number in group["acting"]) == list(DATA_CENTERS), group["pgid"]


def test_ceph_conf_and_state_json_are_all_that_a_program_needs(bed: Bed) -> None:
    state = json.loads((bed.folder / "state.json").read_text())
    done = subprocess.run(["ceph", "--conf", state["ceph"]["conf"], "fsid"], capture_output=True, check=True)
    assert done.stdout.decode().strip() == state["ceph"]["fsid"]
    done = subprocess.run(["psql", "-Atc", "SELECT 1", state["postgres"]["url"]], capture_output=True, check=True)
    assert done.stdout == b"1\n"
    assert state["pids"] == pids(bed)


def test_what_is_up_is_left_as_it_is_by_another_up(bed: Bed) -> None:
    before = pids(bed)
    bed.up()
    assert pids(bed) == before


def test_a_gateway_that_was_killed_comes_back_with_what_was_stored(bed: Bed, bucket: str) -> None:
    put(bed, bucket, "kept")
    bed.kill("rgw.main")
    with bed.s3() as client, pytest.raises((BotoCoreError, ClientError)):
        client.head_bucket(Bucket=bucket)
    assert bed.complaints() == ["rgw.main does not run"]
    bed.up()
    assert stored(bed, bucket, "kept") == _BODY
    assert bed.complaints() == []


def test_postgresql_that_was_killed_comes_back_with_what_was_committed(bed: Bed) -> None:
    with bed.postgres.connected() as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    bed.kill("postgres")
    assert not bed.postgres.answers()
    bed.up()
    with bed.postgres.connected() as connection:
        assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]
        connection.execute("DROP TABLE kept")


def test_what_is_paused_does_not_answer_until_it_is_resumed(bed: Bed) -> None:
    bed.pause("haproxy")
    with pytest.raises(TimeoutError):
        bed.haproxy.ask("show info")
    bed.resume("haproxy")
    assert bed.haproxy.answers()


def test_haproxy_names_the_client_to_the_replica_that_is_ready(bed: Bed) -> None:
    balancer = bed.plan.haproxy
    away, ready = balancer.replicas[0], balancer.replicas[1]
    with replica.listening(ready):
        for backend in ("http", "dimse"):
            await_true(lambda: bed.haproxy.replicas(backend)[ready.name] == "UP")  # noqa: B023 - called at once
            # One that never answered counts as up until it has been asked often enough.
            await_true(lambda: bed.haproxy.replicas(backend)[away.name] == "DOWN")  # noqa: B023 - likewise
        assert asked(balancer.http_port, "/anything") == (200, _CLIENT)
        assert named_at(balancer.dimse_port) == _CLIENT
    await_true(lambda: bed.haproxy.replicas("http")[ready.name] == "DOWN")


def test_a_server_at_a_replicas_ports_is_reached_through_haproxy(bed: Bed, tmp_path: Path) -> None:
    balancer = bed.plan.haproxy
    one, file = balancer.replicas[2], ct(1)
    at = ("--listen", f"{HOST}:{one.http_port}", "--dicom-listen", f"{HOST}:{one.dimse_port}")
    with Server(tmp_path / "data", *at, trusted_proxies=f'["{HOST}"]', storage__reserve=0):
        await_true(lambda: bed.haproxy.replicas("dimse")[one.name] == "UP")
        with DimseClient(balancer.dimse_port) as client:
            assert client.store(file.instance, file.data_set) == SUCCESS
        await_true(lambda: bed.haproxy.replicas("http")[one.name] == "UP")
        assert asked(balancer.http_port, "/readyz")[0] == 200


@pytest.mark.long
@pytest.mark.parametrize("fault", [Bed.stop, Bed.kill], ids=["stopped", "killed"])
def test_objects_are_stored_and_read_without_a_data_center_which_comes_back_with_all_of_them(
    bed: Bed, bucket: str, fault: Callable[[Bed, str], None]
) -> None:
    keys = ["before"]
    put(bed, bucket, "before")
    # At the end no OSD has what it had at the beginning, but what the others gave it back.
    for center in DATA_CENTERS:
        fault(bed, f"dc:{center}")
        await_true(lambda: bed.ceph.ask("osd", "stat")["num_up_osds"] == 4)
        keys.append(f"without {center}")
        put(bed, bucket, keys[-1])
        assert [key for key in keys if stored(bed, bucket, key) != _BODY] == []
        bed.start(f"dc:{center}")
        bed.ceph.await_healthy()
        assert bed.complaints() == []
    assert [key for key in keys if stored(bed, bucket, key) != _BODY] == []
