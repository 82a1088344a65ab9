"""A full disk refuses what comes, serves what is there, and takes more as soon as there is room."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import loop_disk
from tests.harness.dicom_file import ct, data_set_of
from tests.harness.dimse_client import OUT_OF_RESOURCES, SUCCESS, DimseClient, EndedError
from tests.harness.server import Server
from tests.harness.stored import walk
from tests.harness.web_client import FAILURES, WebClient, get

MIB = 1 << 20
WITHIN = 0.5  # seconds; each worker asks the disk for itself, some times a second


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with loop_disk.mounted(tmp_path, 96 * MIB) as point:
        yield point


def await_status(server: Server, path: str, expected: int) -> None:
    until = time.monotonic() + 20
    while (status := get(server.http, path)[0]) != expected:
        assert time.monotonic() < until, f"{path} is {status}, not {expected}"
        time.sleep(0.1)


def test_below_the_reserve_all_doors_say_so_and_reading_goes_on(disk: Path) -> None:
    kept = ct(1, size=500_000)
    with Server(disk / "data", storage__reserve=8 * MIB) as server:
        with DimseClient(server.dimse) as client:
            assert client.store(kept.instance, kept.data_set) == SUCCESS
        await_status(server, "/readyz/write", 200)
        filler = loop_disk.fill(disk, 4 * MIB)
        await_status(server, "/readyz/write", 503)
        time.sleep(WITHIN)
        large = ct(3, size=12 * MIB)
        with DimseClient(server.dimse) as client:
            assert client.store(ct(2).instance, ct(2).data_set) == OUT_OF_RESOURCES
            assert client.store(large.instance, large.data_set) == OUT_OF_RESOURCES
        with WebClient(server.http) as client:
            assert client.stow(ct(2)).status == 507
        assert get(server.http, "/readyz")[0] == 200
        path = f"/dicom-web/studies/{kept.study}/series/{kept.series}/instances/{kept.instance}"
        assert get(server.http, path)[0] == 200
        assert get(server.http, "/dicom-web/studies")[0] == 200
        assert data_set_of(get(server.http, f"/image/{kept.instance}")[1]) == kept.data_set
        filler.unlink()
        await_status(server, "/readyz/write", 200)
        time.sleep(WITHIN)
        with DimseClient(server.dimse) as client:
            assert client.store(ct(2).instance, ct(2).data_set) == SUCCESS
        with WebClient(server.http) as client:
            assert client.stow(ct(4)).status == 200
        assert server.stop() == 0
    assert len(walk(disk / "data").data_sets) == 3


def fill_by_ingest(server: Server, size: int) -> tuple[list[int], int]:
    """Send until it is refused ten times; the numbers of what was stored, and the next one."""
    stored, refused, number = [], 0, 1000
    while refused < 10:
        number += 1
        file = ct(number, size=size)
        try:
            with DimseClient(server.dimse) as client:
                status = client.store(file.instance, file.data_set)
            assert status in {SUCCESS, OUT_OF_RESOURCES}, hex(status)
            with WebClient(server.http) as client:
                answer = client.stow(ct(number, series=2, size=size))
            assert answer.status in {200, 507}, answer
        except (EndedError, *FAILURES) as error:
            raise AssertionError(f"a worker died or hung up: {error!r}") from error
        if status == SUCCESS:
            stored.append(number)
        if status == OUT_OF_RESOURCES and answer.status == 507:
            refused += 1
    return stored, number


@pytest.mark.parametrize("size", [900_000, 3000])
def test_without_reserve_a_disk_that_is_full_to_the_last_block_loses_nothing(disk: Path, size: int) -> None:
    with Server(disk / "data", storage__reserve=0, storage__segment_size=4 * MIB) as server:
        filler = loop_disk.fill(disk, 12 * MIB if size > MIB // 2 else 2 * MIB)
        stored, number = fill_by_ingest(server, size)
        for one in stored[-3:]:
            assert data_set_of(get(server.http, f"/image/{ct(one).instance}")[1]) == ct(one, size=size).data_set
        filler.unlink()
        await_status(server, "/readyz/write", 200)
        with DimseClient(server.dimse) as client:
            for file in (ct(number + 1, size=size), ct(number, size=size)):
                assert client.store(file.instance, file.data_set) == SUCCESS
        server.kill()
    with Server(disk / "data", storage__reserve=0) as server:
        assert server.stop() == 0
    found = walk(disk / "data")
    for one in stored:
        assert found.versions_of(ct(one).instance) == [ct(one, size=size).data_set]
