"""A pass over an institution's objects: in steps, each from where the last one came to, then none for a while."""

import json
import threading
from datetime import timedelta

from imagerepo.flows.upkeep import sweep
from imagerepo.flows.upkeep.steps import Again
from imagerepo.flows.upkeep.sweep import Sweep
from imagerepo.flows.work import later, now
from imagerepo.model.task import Task, TaskKind, TaskState
from imagerepo.ports.upkeep import Swept
from imagerepo.settings import Settings
from imagerepo.settings_cluster import Upkeep

KEYS = [f"default/1/1/{number}" for number in range(5)]
SETTINGS = Upkeep(sweep_interval=3600, sweep_grace=60)


class Bucket:
    """Objects, two a page (ports.upkeep.Sweeper); whoever looks at one is noted."""

    def __init__(self, stop: threading.Event) -> None:
        self.seen: list[str] = []
        self._stop = stop

    def sweep(self, institution: str, after: str, grace: timedelta) -> Swept:
        assert (institution, grace) == ("default", timedelta(seconds=60))
        page = [key for key in KEYS if key > after][:2]
        self.seen += page
        self._stop.set()  # the worker ends
        return Swept(page[-1] if page else after, len(page) < 2, len(page), 0, 0)


def task(payload: str) -> Task:
    at = now()
    return Task(
        1, TaskKind.SWEEP, "default", "default", "", "objects", payload, TaskState.WAITING, 0, at, at, ""
    )  # fmt: skip


def test_a_pass_goes_on_with_whichever_worker_has_the_next_step() -> None:
    stop = threading.Event()
    bucket = Bucket(stop)
    left = Again("{}", now())
    steps = 0
    while left.due_at <= now():
        left = Sweep(bucket, SETTINGS)(task(left.payload), stop)
        steps += 1
        assert bucket.seen == KEYS[: 2 * steps]
    assert bucket.seen == KEYS
    assert json.loads(left.payload) == {}


def test_the_next_pass_begins_an_interval_after_the_last_one_began() -> None:
    stop = threading.Event()
    payload = json.dumps({"after": KEYS[-1], "begun": later(-3000).isoformat()})
    left = Sweep(Bucket(stop), SETTINGS)(task(payload), stop)
    assert later(500) < left.due_at < later(700)


def test_each_institution_has_one_task() -> None:
    assert [(one.institution, one.queue) for one in sweep.standing(Settings())] == [("default", "default")]
