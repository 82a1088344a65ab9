"""The process that works ahead of demand: of lowest priority, without a port, and never missed.

It writes the metadata cache alone, whose loss costs time only: SIGTERM ends it after the batch at hand, and nothing
happens if it is killed.
"""

import logging
import signal
import sys
import threading
import time
from pathlib import Path

from imagerepo.errors import ImagerepoError
from imagerepo.flows.readying import Readying
from imagerepo.processes import child, logs
from imagerepo.processes.assembly.embedded import Embedded
from imagerepo.processes.spec import Spec, writers

log = logging.getLogger(__name__)

_LOOK = 0.2  # seconds between looks at what has arrived
_LONGEST = 60.0  # seconds between looks while the index or the disk fails


def main() -> None:
    """Work until SIGTERM. Arguments: the run folder's spec, and the descriptor of the parent's pipe."""
    file, parent = Path(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = threading.Event()
    child.on_terminate(stop.set)
    threading.Thread(target=child.die_with, args=(parent,), name="parent", daemon=True).start()
    logs.begin()
    spec = Spec.model_validate_json(file.read_text())
    shape = Embedded.found(spec.settings, spec.data, spec.start, writers(spec.workers))
    readying: Readying | None = None
    pause = _LOOK
    while not stop.wait(pause):
        try:
            readying = readying or shape.readying()
            _work(readying, stop)
            pause = _LOOK
        except (ImagerepoError, OSError) as error:
            log.warning("readying.waits", extra={"reason": str(error)})
            pause = min(pause * 2, _LONGEST)


def _work(readying: Readying, stop: threading.Event) -> None:
    until = time.monotonic() + _LOOK  # then it is looked again whether it is still quiet
    more = readying.look()
    while more and not stop.is_set() and time.monotonic() < until:
        more = readying.make()


if __name__ == "__main__":
    main()
