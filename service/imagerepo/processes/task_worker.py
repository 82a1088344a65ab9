"""The process that does deferred work: forwarding what arrives, reporting storage commitment.

It has no port and a low priority, so that no sender waits for it. What it does is written to work.sqlite, task by
task: whenever it is killed, the next one goes on.
"""

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Final

from imagerepo.errors import ImagerepoError
from imagerepo.processes import assembly, child, logs, working
from imagerepo.processes.settings_file import SettingsFile
from imagerepo.processes.spec import TASKS_WRITER, Spec

log = logging.getLogger(__name__)

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
    working.work(office, SettingsFile(spec.config, spec.settings), stop)
    try:
        office.close(_ENDING)
    except ImagerepoError as error:
        log.warning("audit.counts_lost", extra={"reason": str(error)})
    parts.close()


if __name__ == "__main__":
    main()
