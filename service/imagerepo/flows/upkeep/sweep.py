"""Sweep: objects that no row names are removed, institution by institution, over and over.

They come from replicas that died between the bytes and the row, and from answers that were lost.
"""

import json
import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from imagerepo import telemetry
from imagerepo.flows.upkeep.steps import Again
from imagerepo.flows.work import now
from imagerepo.model.task import NewTask, Task, TaskKind
from imagerepo.ports.upkeep import Sweeper
from imagerepo.settings import Settings
from imagerepo.settings_cluster import Upkeep

log = logging.getLogger(__name__)

_STEP: Final = 10.0  # seconds


class Sweep:
    """Does tasks of kind SWEEP (steps.Step): payload `after`, a key, and `begun`, when this pass over the keys was."""

    def __init__(self, sweeper: Sweeper, settings: Upkeep) -> None:
        self._sweeper = sweeper
        self._grace = timedelta(seconds=settings.sweep_grace)
        self._interval = timedelta(seconds=settings.sweep_interval)

    def __call__(self, task: Task, stop: threading.Event) -> Again:
        """Look at as many objects as a step has time for."""
        progress = json.loads(task.payload)
        after: str = progress.get("after", "")
        begun = datetime.fromisoformat(progress["begun"]) if after else now()
        until = time.monotonic() + _STEP
        while True:
            swept = self._sweeper.sweep(task.institution, after, self._grace)
            telemetry.swept_objects.labels(task.institution).inc(swept.removed)
            if swept.removed or swept.spared:
                counts = {"seen": swept.seen, "removed": swept.removed, "spared": swept.spared}
                log.info("sweep.found", extra={"institution": task.institution, **counts})
            if swept.is_end:
                return Again("{}", max(now(), begun + self._interval))
            after = swept.last
            if stop.is_set() or time.monotonic() >= until:
                return Again(json.dumps({"after": after, "begun": begun.astimezone(UTC).isoformat()}), now())


def standing(settings: Settings) -> Sequence[NewTask]:
    """One task for each institution."""
    return [
        NewTask(TaskKind.SWEEP, one.id, queue=one.id, lane="", name="objects", payload="{}", due_at=now())
        for one in settings.tenants
    ]
