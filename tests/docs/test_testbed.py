"""docs/testbed.md: its fields are in `state.json`, its daemons and limits are the bed's."""

import json
from pathlib import Path

import pytest

from tests.docs.reading import DOCS, code, rows, section
from tests.testbed import plan
from tests.testbed.bed import Bed
from tests.testbed.daemon import BedError

PAGE = DOCS / "testbed.md"


def test_every_field_shown_is_in_state_json(tmp_path: Path) -> None:
    plan.save(tmp_path / "state.json", plan.make(), tmp_path, {})
    state = json.loads((tmp_path / "state.json").read_text())
    shown = [
        name
        for row in rows(section(PAGE, "What is in the folder"), "in `state.json`")
        for name in code(row["in `state.json`"])
    ]
    assert shown
    for name in shown:
        found = state
        for part in name.split("."):
            found = found[part]


def test_every_daemon_is_shown(tmp_path: Path) -> None:
    plan.save(tmp_path / "state.json", plan.make(), tmp_path, {})
    shown = {name for row in rows(section(PAGE, "What comes up"), "daemon") for name in code(row["daemon"])}
    names = {one.name for one in Bed(tmp_path).daemons()}
    assert shown == {name for name in names if name not in {"osd.1", "osd.2", "osd.3", "osd.4"}}


def test_the_longest_path_shown_is_the_longest_that_is_taken() -> None:
    assert "at most 60 bytes" in section(PAGE, "Traps")
    Bed.at(Path("/" + "x" * 59))
    with pytest.raises(BedError, match="too long"):
        Bed.at(Path("/" + "x" * 60))
