"""All that a worker does: what is due of the tasks that keep a cluster in order."""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from imagerepo.flows.work import Workforce
from imagerepo.model.task import NewTask
from imagerepo.ports.tasks import Tasks
from imagerepo.settings import Settings

log = logging.getLogger(__name__)

_STANDING: Final = 30.0  # seconds between looks for tasks that are always there


class Upkeep:
    """One worker's. For one thread."""

    def __init__(
        self,
        settings: Settings,
        tasks: Tasks,
        workforce: Workforce,
        standing: Callable[[Settings], Sequence[NewTask]],
    ) -> None:
        """`standing`: tasks that are added whenever they are not there."""
        self._settings = settings
        self._tasks = tasks
        self._workforce = workforce
        self._standing = standing
        self._standing_at = 0.0  # monotonic seconds

    def open(self) -> None:
        """Nothing is left of before: a worker has another name at each start."""

    def look(self) -> None:
        """Do what there is to be done now; returns before it is done. Raises UnavailableError."""
        if time.monotonic() >= self._standing_at:
            self._tasks.add(self._standing(self._settings))
            self._standing_at = time.monotonic() + _STANDING
        self._workforce.look()

    def replace(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        self._settings = settings
        self._standing_at = 0.0

    def close(self, seconds: float) -> None:
        """Finish the steps that are being done, as far as they take no longer; give the rest back.

        Raises UnavailableError: others go on with it when its lease is over.
        """
        self._workforce.end(seconds)
        self._tasks.give_back_all()
