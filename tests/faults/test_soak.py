"""A department at work: associations that send, ask and move at once, for minutes. No error, no growth in memory."""

import json
import time
from pathlib import Path

import pytest

from tests.harness import soak
from tests.harness.dcmtk_peers import storescp
from tests.harness.server import Server

MIB = 1 << 20
GROWTH = 40 * MIB
"""That a worker may have: caches fill, the allocator keeps some of what was used at once."""


def work(
    folder: Path, associations: dict[str, int], seconds: float, warm: float
) -> tuple[dict[str, int], list[str], int]:
    """Requests done by kind, what went wrong, and by how many bytes the worker grew most that did after `warm`."""
    with storescp(folder / "received", soak.DESTINATION, "--fork", "--ignore") as port:
        node = {"name": "soak", "ae_title": soak.DESTINATION, "host": "127.0.0.1", "port": port}
        with Server(folder / "data", workers=2, nodes=json.dumps([node]), storage__reserve=0) as server:
            soak.fill(server.dimse)
            clients = {kind: soak.start(kind, server.dimse, seconds, number) for kind, number in associations.items()}
            time.sleep(warm)
            before = {worker.pid: worker.resident for worker in server.workers()}
            said = {kind: json.loads(client.communicate(timeout=seconds + 120)[0]) for kind, client in clients.items()}
            growth = max(worker.resident - before[worker.pid] for worker in server.workers())
    errors = [error for one in said.values() for error in one["errors"]]
    return {kind: one["done"] for kind, one in said.items()}, errors, growth


def test_a_few_associations_work_at_once(tmp_path: Path) -> None:
    done, errors, _ = work(tmp_path, {"send": 4, "find": 4, "move": 2}, 6, 1)
    assert errors == []
    assert all(count > 5 for count in done.values()), done


@pytest.mark.long
@pytest.mark.timeout(900)
def test_fifty_associations_work_for_five_minutes_without_error_or_growth(tmp_path: Path) -> None:
    done, errors, growth = work(tmp_path, {"send": 20, "find": 20, "move": 10}, 300, 60)
    assert errors == []
    assert all(count > 500 for count in done.values()), done
    assert growth < GROWTH, f"{growth / MIB:.1f} MiB"
