"""The loop of a process that does deferred work: look, again and again; later and later where that fails."""

import logging
import sqlite3
import threading
import time
from typing import Final, Protocol

from imagerepo.errors import ImagerepoError
from imagerepo.processes.settings_file import SettingsFile
from imagerepo.settings import Settings

log = logging.getLogger(__name__)

_LOOK: Final = 0.25  # seconds between looks at what has arrived and what is due
_LONGEST: Final = 30.0  # seconds between looks while the index or the disk fails
_SETTINGS: Final = 2.0  # seconds between looks at the settings file


class Works(Protocol):
    """What has something to do now and then; for one thread."""

    def open(self) -> None:
        """Begin. Raises UnavailableError; then it is begun again."""
        ...

    def look(self) -> None:
        """Do what there is to be done now; returns before it is done. Raises UnavailableError."""
        ...

    def replace(self, settings: Settings) -> None:
        """Go by other settings from now on."""
        ...


def work(works: Works, settings: SettingsFile, stop: threading.Event) -> None:
    """Look until `stop` is set."""
    opened = False
    pause = _LOOK
    settings_at = time.monotonic()
    while not stop.wait(pause):
        if time.monotonic() >= settings_at:
            settings_at = time.monotonic() + _SETTINGS
            found = settings.changed()
            if found is not None:
                works.replace(found)
        try:
            if not opened:
                works.open()
                opened = True
            works.look()
            pause = _LOOK
        except (ImagerepoError, OSError, sqlite3.Error) as error:
            log.warning("work.waits", extra={"reason": str(error)})
            pause = min(pause * 2, _LONGEST)
