"""docs/metrics.md names every DIMSE service as its label does."""

import re

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.dimse.services import UNSUPPORTED
from imagerepo.dimse.table import entries
from imagerepo.settings import Settings
from tests.docs.reading import DOCS, rows
from tests.harness.in_memory import assemble


def test_every_service_is_documented_as_a_label() -> None:
    memory = Memory()
    names = {entry.name for entry in entries(assemble(Settings(), memory, MemoryCommits(memory)))}
    found = rows((DOCS / "metrics.md").read_text(encoding="utf-8"), "metric")
    (row,) = (row for row in found if "imagerepo_dimse_request_duration_seconds" in row["metric"])
    described = " ".join(row.values())
    assert set(re.findall(r"`([CN]-[A-Z-]+)`", described)) == names
    assert f"`{UNSUPPORTED}`" in described
