"""The parent's part in the process that works ahead: started beside the workers, and again if it died."""

import logging
import os
import subprocess
import sys
import time

from imagerepo.processes.spec import Spec

log = logging.getLogger(__name__)

_BACKOFF = 2.0  # seconds from one start to the next at least
_ENDED_WITHIN = 1.0  # seconds after SIGTERM, then it is killed
_LOWEST = 19  # niceness
_MODULE = "imagerepo.processes.readying_worker"


class Attendant:
    """Keeps it running. Whatever becomes of it, serving goes on."""

    def __init__(self, spec: Spec, lock: int, parent: int) -> None:
        """Prepare; `lock` is the descriptor of the folder's lock, `parent` that of the pipe which ends it with us."""
        self._command = [sys.executable, "-m", _MODULE, str(spec.file), str(parent)]
        self._descriptors = (parent, lock)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0  # monotonic seconds

    def start(self) -> None:
        """Start it, without waiting for it."""
        self._started = time.monotonic()
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=self._descriptors
            )
            # From outside and at once: its very start takes half a second that ingest may need.
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _LOWEST)
        except OSError as error:
            self._process = None
            log.warning("readying.not_started", extra={"reason": str(error)})

    def tick(self) -> None:
        """Start it again if it died, but not over and over."""
        ended = self._process is None or self._process.poll() is not None
        if ended and time.monotonic() - self._started > _BACKOFF:
            log.warning("readying.died", extra={"status": self._process.returncode if self._process else None})
            self.start()

    def stop(self) -> None:
        """End it; there is nothing that it could lose."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_ENDED_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
