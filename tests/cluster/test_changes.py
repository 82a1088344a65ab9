"""What changed, told by whichever replica is asked, and to a webhook by whichever lives: the same, in one order."""

import json
import random
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import asking
from tests.cluster.conftest import NAMES
from tests.cluster.replicas import DIRECT, Replicas, replicas
from tests.harness.dicom_file import ct, uid
from tests.harness.hook_receiver import HookReceiver, hook
from tests.harness.receiver import await_
from tests.harness.server import Server
from tests.harness.web_client import FAILURES, WebClient
from tests.testbed.bed import Bed

pytestmark = pytest.mark.timeout(300)

_SHARED = 5  # the study that all store to
_INSTANCES = 4  # of it


@dataclass
class Clients:
    """Who stores and deletes through the balancer, trying again as senders do."""

    cluster: Replicas
    acknowledged: set[tuple[str, int]] = field(default_factory=set[tuple[str, int]])  # instance, variant
    deletions: int = 0
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list[threading.Thread])

    def start(self, count: int) -> None:
        self._threads = [threading.Thread(target=self._run, args=(one,), daemon=True) for one in range(count)]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _run(self, worker: int) -> None:
        rng = random.Random(worker)
        variant = worker * 100_000
        while not self._ending.is_set():
            variant += 1
            number = rng.randrange(_INSTANCES)
            files = [ct(number, study=_SHARED, variant=variant), ct(variant, study=10 + worker)]
            try:
                with WebClient(self.cluster.http, timeout=30) as client:
                    stored = client.stow(*files).stored
                    if files[0].instance in stored:
                        self.acknowledged.add((files[1].instance, 1))
                    if rng.random() < 0.2:
                        self.deletions += client.delete(f"/dicom-web/studies/{uid(_SHARED)}") == 204
            except FAILURES:
                time.sleep(0.1)


@dataclass
class Follower:
    """Follows by /changes, each page from another replica."""

    cluster: Replicas
    changes: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    position: str | None = None
    asked: int = 0

    def follow(self, *, until_quiet: bool) -> None:
        """Ask page by page; to the end of what there is now, or one page."""
        more = True
        while more:
            server = random.choice(list(self.cluster.servers.values()))
            try:
                page = ask(server, self.position, limit=20)
            except FAILURES:  # it was killed
                continue
            self.changes += page["changes"]
            self.position = page["next"]
            self.asked += 1
            more = page["more"] and until_quiet


def ask(server: Server, since: str | None, limit: int = 1000) -> dict[str, Any]:
    query = urllib.parse.urlencode({"limit": limit, **({} if since is None else {"since": since})})
    with WebClient(server.http, source=DIRECT, timeout=30) as client:
        status, body = client.get(f"/changes?{query}")
    assert status == 200, body
    return json.loads(body)


def whole(server: Server) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    since, more = None, True
    while more:
        page = ask(server, since)
        found += page["changes"]
        since, more = page["next"], page["more"]
    return found


def test_all_that_was_acknowledged_is_told_once_in_one_order_though_a_replica_is_killed(
    bed: Bed, tmp_path: Path
) -> None:
    receiver = HookReceiver()
    retry = {"first": 0.1, "longest": 0.5, "attempts": 5}
    with receiver.serving():
        institutions = [{"id": "default", "webhooks": [hook(receiver.url, tmp_path)]}]
        with replicas(bed, tmp_path, institutions=institutions, retry=retry) as cluster:
            cluster.start(*NAMES)
            clients, follower = Clients(cluster), Follower(cluster)
            clients.start(4)
            for number in range(40):
                follower.follow(until_quiet=False)
                if number == 20:
                    cluster.kill(NAMES[1])
                time.sleep(0.1)
            clients.end()
            time.sleep(1)  # what the killed one had under way is over
            follower.follow(until_quiet=True)
            assert clients.deletions
            told = [(one["instance"], one["version"]) for one in follower.changes if one["kind"] == "stored"]
            assert len(set(told)) == len(told)
            assert clients.acknowledged <= set(told)
            for server in cluster.servers.values():
                assert whole(server) == follower.changes
            there = _in_order(follower.changes)
            assert there == set(asking.found(cluster.servers[NAMES[0]], uid(_SHARED)))
            await_(lambda: len(receiver.changes()) >= len(follower.changes))
            assert receiver.changes() == follower.changes
            bodies = {one.id: one.body for one in receiver.messages}
            assert all(bodies[one.id] == one.body for one in receiver.messages)


def _in_order(changes: list[dict[str, Any]]) -> set[str]:
    """Of the shared study versions rise, and a deletion takes what was stored since the one before; what is left."""
    there: dict[str, int] = {}
    last: dict[str, int] = {}
    for one in changes:
        if one["study"] == uid(_SHARED):
            if one["kind"] == "stored":
                assert one["version"] == last.get(one["instance"], 0) + 1
                last[one["instance"]] = there[one["instance"]] = one["version"]
            else:
                assert one["instances"] == len(there)
                there.clear()
    return set(there)
