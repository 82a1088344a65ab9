"""The parent's part in the process that works ahead: started beside the workers, and again if it died."""

import logging
import os
import subprocess
import sys
import time

from imagerepo.processes.spec import Spec

log = logging.getLogger(__name__)

_FIRST = 1.0  # seconds from the server's start to its own
_BACKOFF = 2.0  # from one start to the next at least
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
        self._due: float | None = None  # monotonic seconds before which it is not started

    def _start(self) -> None:
        self._due = time.monotonic() + _BACKOFF
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=self._descriptors
            )
            os.setpriority(os.PRIO_PROCESS, self._process.pid, _LOWEST)
        except OSError as error:
            self._process = None
            log.warning("readying.not_started", extra={"reason": str(error)})

    def tick(self) -> None:
        """Start it a moment after the server; again if it died, but not over and over."""
        now = time.monotonic()
        if self._due is None:
            self._due = now + _FIRST  # whoever waited for the server goes first
        if now < self._due or (self._process is not None and self._process.poll() is None):
            return
        if self._process is not None:
            log.warning("readying.died", extra={"status": self._process.returncode})
        self._start()

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
