"""The suite's subject: every adapter, one after another."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.archive import Archive, Opening, in_cluster, in_memory, in_segments


@pytest.fixture(params=[in_memory, in_segments, in_cluster])
def opening(request: pytest.FixtureRequest) -> Opening:
    return request.param


@pytest.fixture
def archive(opening: Opening, tmp_path: Path) -> Iterator[Archive]:
    with opening(tmp_path / "data") as opened:
        yield opened
