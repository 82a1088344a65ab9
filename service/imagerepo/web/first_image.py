"""Measure how long a reader waits for the first image of a study, as far as one process sees it."""

import time
from collections import OrderedDict
from typing import Final

from imagerepo import telemetry
from imagerepo.model.caller import Caller

_STUDIES: Final = 1024  # remembered; the longest untouched goes first


class FirstImage:
    """Studies that were asked for, and whether an image of theirs has left."""

    def __init__(self) -> None:
        self._asked: OrderedDict[tuple[str, str], float | None] = OrderedDict()  # monotonic seconds; None: it has

    def asked(self, caller: Caller, study_uid: str) -> None:
        """Something of the study was asked for."""
        key = (caller.institution, study_uid)
        if key in self._asked:
            self._asked.move_to_end(key)
            return
        self._asked[key] = time.monotonic()
        if len(self._asked) > _STUDIES:
            self._asked.popitem(last=False)

    def sent(self, caller: Caller, study_uid: str) -> None:
        """An image of the study has left, complete."""
        key = (caller.institution, study_uid)
        since = self._asked.get(key)
        if since is not None:
            self._asked[key] = None
            telemetry.first_image.labels(caller.institution).observe(time.monotonic() - since)
