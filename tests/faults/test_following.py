"""Following what changed while processes are killed: what was told, done again, is what is there."""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.owners import Owners
from tests.harness.server import Server
from tests.harness.web_client import FAILURES, WebClient, get

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]


def ask(server: Server, since: str | None) -> dict[str, Any]:
    query = "limit=50" if since is None else f"limit=50&since={since}"
    with WebClient(server.http) as client:
        status, body = client.get(f"/changes?{query}")
    assert status == 200, body
    return json.loads(body)


def follow(server: Server, since: str | None) -> tuple[list[dict[str, Any]], str | None]:
    """All there is after a position, asked of workers of which some die."""
    found: list[dict[str, Any]] = []
    more = True
    while more:
        try:
            page = ask(server, since)
        except FAILURES:
            time.sleep(0.05)
            continue
        found += page["changes"]
        since, more = page["next"], page["more"]
    return found, since


def left_by(changes: list[dict[str, Any]]) -> set[str]:
    """SOP Instance UIDs that are there when all of this has happened in its order."""
    there: dict[str, tuple[str, str]] = {}
    for one in changes:
        if one["kind"] == "stored":
            there[one["instance"]] = (one["study"], one["series"])
            continue
        gone = {
            name
            for name, (study, series) in there.items()
            if study == one["study"] and one.get("series", series) == series and one.get("instance", name) == name
        }
        assert len(gone) == one["instances"], one
        for name in gone:
            del there[name]
    return set(there)


@pytest.mark.parametrize("seed", range(2))
def test_what_was_told_is_what_is_there_whichever_process_is_killed(tmp_path: Path, seed: int) -> None:
    rng, owners = random.Random(seed), Owners(seed)
    found: list[dict[str, Any]] = []
    since: str | None = None
    with Server(tmp_path, workers=2, storage__reserve=0) as server:
        owners.start(server, 6)
        for _ in range(8):
            time.sleep(rng.random())
            os.kill(rng.choice(server.workers()).pid, 9)
            told, since = follow(server, since)
            found += told
        owners.end()
        time.sleep(3)  # a worker that was killed is back, and what it had in flight is over
        told, since = follow(server, since)
        found += told
        assert follow(server, None)[0] == found
        assert len({one["id"] for one in found}) == len(found)
        status, body = get(server.http, "/dicom-web/instances?limit=5000")
        there = {one["00080018"]["Value"][0] for one in json.loads(body)} if status == 200 else set()
        assert left_by(found) == there
        assert {name for name, _ in owners.stored} <= {one["instance"] for one in found if one["kind"] == "stored"}
