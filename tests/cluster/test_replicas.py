"""Three replicas behind a balancer are one repository: whichever takes it, all have it."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.cluster import asking, stored
from tests.cluster.clients import clients
from tests.cluster.replicas import DIRECT, Replicas
from tests.harness.dicom_file import DicomFile, ct
from tests.harness.dimse_client import SUCCESS, DimseClient
from tests.harness.load import Load, assert_survived
from tests.harness.receiver import Receiver, await_
from tests.harness.server import NotStartedError, Server
from tests.harness.web_client import WebClient, get

pytestmark = pytest.mark.timeout(300)

_SIZES = (2048, 30_000)  # bytes: of what the bed stores, every OSD has a copy in memory
_PAUSE = 0.05  # seconds


def series(study: int, count: int, size: int = 20_000) -> list[DicomFile]:
    return sorted((ct(number, study=study, size=size) for number in range(count)), key=lambda file: file.instance)


def c_store(port: int, files: Sequence[DicomFile], calling: str = "SENDER", source: str | None = None) -> None:
    with DimseClient(port, calling, source=source) as client:
        assert [client.store(file.instance, file.data_set) for file in files] == [SUCCESS] * len(files)
        client.release()


def stow(port: int, files: Sequence[DicomFile], source: str | None = None) -> None:
    with WebClient(port, source=source) as client:
        answer = client.stow(*files)
    assert (answer.status, answer.stored) == (200, {file.instance for file in files}), answer


def one_by_one(port: int, files: Sequence[DicomFile]) -> None:
    for file in files:
        stow(port, [file], source=DIRECT)


@pytest.fixture(scope="module")
def sent() -> dict[str, set[bytes]]:
    """What loads have sent: their instances are partly the same."""
    return {}


def at_once(jobs: Sequence[Callable[[], None]]) -> None:
    """Begin all at the same moment; raises what they raise."""
    ready = threading.Barrier(len(jobs))

    def run(job: Callable[[], None]) -> None:
        ready.wait()
        job()

    with ThreadPoolExecutor(len(jobs)) as threads:
        list(threads.map(run, jobs))


def test_what_one_replica_takes_by_stow_every_other_answers(three: Replicas) -> None:
    files = series(11, 20)
    stow(three.http, files)
    uids = [file.instance for file in files]
    for server in three.servers.values():
        assert asking.found(server, files[0].study) == uids
        assert asking.described(server, files[0].study) == uids
        assert asking.study_has(server, files)


def test_what_one_replica_takes_by_c_store_every_other_finds_and_moves(three: Replicas, archive: Receiver) -> None:
    files = series(12, 10)
    c_store(three.dimse, files)
    for name in three.servers:
        archive.received.clear()
        with three.only(name):
            assert sorted(asking.findscu(three.dimse, files[0].study)) == [file.instance for file in files]
            asking.movescu(three.dimse, files[0].study, "ARCHIVE")
        assert sorted(archive.received) == [file.instance for file in files]
    assert all(archive.data_sets[file.instance] == file.data_set for file in files)


def test_instances_large_and_small_come_back_as_they_were(three: Replicas) -> None:
    files = [ct(number, study=13, size=size) for number, size in enumerate((64, 500_000, 9_000_000, 30_000_000))]
    stow(three.http, files)
    for server in three.servers.values():
        assert [asking.data_set(server, file) == file.data_set for file in files] == [True] * len(files)


def test_the_same_instance_sent_to_all_at_once_is_stored_once(three: Replicas) -> None:
    files = series(14, 12)

    def senders(server: Server) -> list[Callable[[], None]]:
        return [
            lambda: c_store(server.dimse, files, source=DIRECT),
            lambda: stow(server.http, files, source=DIRECT),
            lambda: one_by_one(server.http, files),
        ]

    at_once([job for server in three.servers.values() for job in senders(server)])
    held = stored.walk(three)
    for file in files:
        assert held.versions_of(file.instance) == [file.data_set]
    for server in three.servers.values():
        assert asking.found(server, files[0].study) == [file.instance for file in files]


def test_different_bytes_sent_to_all_at_once_are_versions_of_one_instance(three: Replicas) -> None:
    variants = [[ct(number, study=15, variant=variant) for number in range(5)] for variant in range(3)]
    servers = list(three.servers.values())
    at_once([
        lambda server=server, files=files: c_store(server.dimse, files, source=DIRECT)
        for server, files in zip(servers, variants, strict=True)
    ])  # fmt: skip
    held = stored.walk(three)
    for same in zip(*variants, strict=True):
        assert sorted(held.versions_of(same[0].instance)) == sorted(file.data_set for file in same)
        current = {asking.data_set(server, same[0]) for server in servers}
        assert current == {held.versions_of(same[0].instance)[-1]}


def test_one_study_from_many_senders_over_all_replicas_is_counted_right(three: Replicas) -> None:
    files = series(16, 60, size=2048)
    at_once([lambda part=files[start::6]: c_store(three.dimse, part) for start in range(6)])
    for server in three.servers.values():
        assert asking.found(server, files[0].study) == [file.instance for file in files]
        assert asking.counted(server, files[0].study) == (1, 60)


def test_what_one_replica_deletes_no_other_has(three: Replicas) -> None:
    first, *others = three.servers.values()
    files = series(17, 8)
    stow(three.http, files)
    for server in (first, *others):
        assert asking.study_has(server, files)  # so that it is in whatever cache they have
    assert stored.objects(three, files[0].study)
    assert asking.delete(first, f"/dicom-web/studies/{files[0].study}") == 204
    for server in (first, *others):
        assert asking.found(server, files[0].study) == []
        assert asking.data_set(server, files[0]) is None
    await_(lambda: not stored.objects(three, files[0].study))
    stow(three.http, files)
    for server in (first, *others):
        assert asking.study_has(server, files)


def test_what_arrives_at_any_replica_is_forwarded_once(three: Replicas, archive: Receiver) -> None:
    archive.received.clear()
    files = [file for study in range(40, 46) for file in series(study, 5, size=2048)]
    at_once([lambda part=files[start::6]: c_store(three.dimse, part, "FORWARDED") for start in range(6)])
    wanted = sorted(file.instance for file in files)
    await_(lambda: len(archive.received) >= len(wanted))
    time.sleep(1.0)  # what would be sent a second time would be by now
    assert sorted(archive.received) == wanted


def test_readyz_says_that_the_database_does_not_answer(three: Replicas) -> None:
    server = three.servers["replica-1"]
    three.bed.stop("postgres")
    try:
        await_(lambda: asking.readyz(server)[0] == 503)
        assert "database" in asking.readyz(server)[1]
    finally:
        three.bed.start("postgres")
    three.await_up(three.servers)
    assert get(three.http, "/readyz")[0] == 200
    c_store(three.dimse, series(18, 2))


def test_two_replicas_do_not_share_a_scratch_folder(three: Replicas) -> None:
    data = three.servers["replica-1"].data
    with pytest.raises(NotStartedError, match="status 1") as error:
        Server(data, "--config", str(three.settings))
    assert str(data) in str(error.value)


def test_a_gateway_that_is_killed_and_comes_back_loses_nothing(three: Replicas, sent: dict[str, set[bytes]]) -> None:
    with clients(three, 8, sent) as running:
        three.bed.kill("rgw.main")
        running.await_progress(60)
        three.bed.start("rgw.main")
        running.await_progress(60)


def test_a_replica_that_is_ended_loses_no_request(three: Replicas, sent: dict[str, set[bytes]]) -> None:
    load = Load(6, _SIZES, _PAUSE, sent=sent)
    load.start(three, dimse=3, stow=2)
    load.await_acknowledged(20)
    assert three.stop("replica-3") == 0  # which the next test starts again
    load.await_acknowledged(len(load.acknowledged) + 20)
    load.end()
    assert_survived(load, load.acknowledged, stored.walk(three).of(sent))


def test_a_replica_that_was_added_gets_work_of_clients_that_keep_their_connections(cluster: Replicas) -> None:
    with ExitStack() as opened:
        clients = [opened.enter_context(WebClient(cluster.http)) for _ in range(6)]
        assert {client.get("/dicom-web/studies")[0] for client in clients} == {200}
        name = next(name for name in cluster.names if name not in cluster.servers)
        cluster.start(name)
        while not asking.searches(cluster.servers[name]):
            assert {client.get("/dicom-web/studies")[0] for client in clients} == {200}


def test_killing_a_replica_while_all_ingest_loses_nothing_acknowledged(
    cluster: Replicas, sent: dict[str, set[bytes]]
) -> None:
    load = Load(5, _SIZES, _PAUSE, sent=sent)
    load.start(cluster, dimse=4, stow=2)
    load.await_acknowledged(40)
    cluster.kill("replica-2")
    load.await_acknowledged(len(load.acknowledged) + 40)
    load.end()
    assert_survived(load, load.acknowledged, stored.walk(cluster).of(sent))


def test_the_journal_of_all_replicas_is_whole_and_names_every_store(cluster: Replicas) -> None:
    files = series(19, 6)
    stow(cluster.http, files)
    verified = asking.command("audit", "verify", "--json", "--config", str(cluster.settings))
    assert json.loads(verified)["chains"] > 1
    exported = asking.command("audit", "export", "--config", str(cluster.settings))
    assert all(f'"{file.instance}"' in exported for file in files)


def test_commands_see_the_tasks_of_all_replicas(cluster: Replicas) -> None:
    assert json.loads(asking.command("tasks", "list", "--json", "--config", str(cluster.settings)))["tasks"] == []
