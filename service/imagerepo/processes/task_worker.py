"""The process that does deferred work: forwarding what arrives, reporting storage commitment.

It has no port and a low priority, so that no sender waits for it. What it does is written to work.sqlite, task by
task: whenever it is killed, the next one goes on.
"""

import logging
import signal
import sqlite3
import sys
import threading
import time
from pathlib import Path
from typing import Final

from imagerepo.errors import ImagerepoError
from imagerepo.flows.office import Office
from imagerepo.processes import assembly, child, logs
from imagerepo.processes.settings_file import SettingsFile
from imagerepo.processes.spec import TASKS_WRITER, Spec

log = logging.getLogger(__name__)

_LOOK: Final = 0.25  # seconds between looks at what has arrived and what is due
_LONGEST: Final = 30.0  # seconds between looks while the index or the disk fails
_SETTINGS: Final = 2.0  # seconds between looks at the settings file
_ENDING: Final = 3.0  # seconds for what is being sent when the server ends


def main() -> None:
    """Work until SIGTERM. Arguments: the run folder's spec, and the descriptor of the parent's pipe."""
    file, parent = Path(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()
    child.on_terminate(stop.set)
    threading.Thread(target=child.die_with, args=(parent,), name="parent", daemon=True).start()
    logs.begin()
    spec = Spec.model_validate_json(file.read_text())
    parts = spec.shape.parts(TASKS_WRITER)
    office = assembly.office(spec.settings, parts)
    child.tend([*parts.tended, *parts.chores])
    _work(office, SettingsFile(spec.config, spec.settings), stop)
    try:
        office.close(_ENDING)
    except ImagerepoError as error:
        log.warning("audit.counts_lost", extra={"reason": str(error)})
    parts.close()


def _work(office: Office, settings: SettingsFile, stop: threading.Event) -> None:
    opened = False
    pause = _LOOK
    settings_at = time.monotonic()
    while not stop.wait(pause):
        if time.monotonic() >= settings_at:
            settings_at = time.monotonic() + _SETTINGS
            found = settings.changed()
            if found is not None:
                office.replace(found)
        try:
            if not opened:
                office.open()
                opened = True
            office.look()
            pause = _LOOK
        except (ImagerepoError, OSError, sqlite3.Error) as error:
            log.warning("work.waits", extra={"reason": str(error)})
            pause = min(pause * 2, _LONGEST)


if __name__ == "__main__":
    main()
