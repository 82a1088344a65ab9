"""The parent's part in processes without a port: started beside the workers, and again if they died."""

import contextlib
import logging
import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from imagerepo.errors import ImagerepoError
from imagerepo.processes.assembly import Attendance, Shape
from imagerepo.processes.spec import TASKS_WRITER, Spec

log = logging.getLogger(__name__)

_FIRST = 2.0  # seconds from the server's start to its own
_BACKOFF = 2.0  # from one start to the next at least


@dataclass(frozen=True, slots=True)
class Duty:
    """What such a process does."""

    name: Attendance  # in logs, and of its module: NAME_worker
    niceness: int
    ended_within: float  # seconds after SIGTERM, then it is killed
    writer: str | None = None  # by which it commits; None: it does not


_READYING: Final = Duty(Attendance.READYING, 19, ended_within=1.0)
# Behind whoever sends and reads, before what nobody waits for.
_TASKS: Final = Duty(Attendance.TASKS, 5, ended_within=4.0, writer=TASKS_WRITER)
DUTIES: Final = {duty.name: duty for duty in (_READYING, _TASKS)}


class Attendant:
    """Keeps one running. Whatever becomes of it, serving goes on."""

    def __init__(self, duty: Duty, spec: Spec, shape: Shape, lock: int, parent: int) -> None:
        """Prepare; `lock` is the descriptor of the folder's lock, `parent` that of the pipe which ends it with us."""
        self._duty = duty
        self._shape = shape
        module = f"imagerepo.processes.{duty.name}_worker"
        self._command = [sys.executable, "-m", module, str(spec.file), str(parent)]
        self._descriptors = (parent, lock)
        self._process: subprocess.Popen[bytes] | None = None
        self._due: float | None = None  # monotonic seconds before which it is not started

    def _start(self) -> None:
        self._due = time.monotonic() + _BACKOFF
        try:
            if self._process is not None and self._duty.writer is not None:
                self._shape.recover(self._duty.writer)
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=self._descriptors
            )
        except (ImagerepoError, sqlite3.Error, OSError) as error:
            log.warning("attendant.not_started", extra={"duty": self._duty.name, "reason": str(error)})
            return
        with contextlib.suppress(OSError):  # forbidden, or it has ended already
            os.setpriority(os.PRIO_PROCESS, self._process.pid, self._duty.niceness)

    def tick(self) -> None:
        """Start it a moment after the server; again if it died, but not over and over."""
        now = time.monotonic()
        if self._due is None:
            self._due = now + _FIRST  # whoever waited for the server goes first
        if now < self._due or (self._process is not None and self._process.poll() is None):
            return
        if self._process is not None:
            log.warning("attendant.died", extra={"duty": self._duty.name, "status": self._process.returncode})
        self._start()

    def tell(self) -> None:
        """Have it end."""
        if self._process is not None:
            self._process.terminate()

    def stop(self) -> None:
        """End it; there is nothing that it could lose."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(self._duty.ended_within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
