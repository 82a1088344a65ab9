"""Painters for one server's process: started when there is something to paint, ended when nothing is for long.

A job goes to one painter, which reads it as a whole before it begins. What it refuses, dies of, or does not finish in
time is refused; the next job finds another painter.
"""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Final, cast

from imagerepo.adapters.painting.messages import NO_ROOM, EndedError, Outcome, read_answer, write_job
from imagerepo.errors import ImagerepoError, NotAcceptableError, UnavailableError
from imagerepo.model.picture import Sheet, View

log = logging.getLogger(__name__)

_IDLE: Final = 60.0  # seconds; well before a painter ends by itself, so that no job meets one that is leaving
_ENDED_WITHIN: Final = 5.0  # seconds
_MODULE: Final = "imagerepo.adapters.painting.painter"
_PLACES: Final = frozenset({"LD_LIBRARY_PATH", "PATH", "PYTHONHOME", "PYTHONPATH"})
# Libraries that would start a thread for each core: there are painters for that.
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Limits:
    """What painters may take."""

    painters: int  # processes at the same time
    memory: int  # bytes of address space of each
    seconds: float  # for one picture


class _Painter:
    """One process, and the ends of its pipes."""

    def __init__(self, limits: Limits) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-P", "-m", _MODULE, str(limits.memory), str(limits.seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_environment(),
        )
        self._jobs = cast("BinaryIO", self._process.stdin)
        self._answers = cast("BinaryIO", self._process.stdout)
        self.idle_since = 0.0  # monotonic seconds

    def paint(self, sheet: Sheet, pieces: Iterable[bytes], view: View) -> tuple[Outcome, bytes]:
        """Have one job done. Raises EndedError, BrokenPipeError."""
        self._jobs.write(write_job(sheet, view))
        for piece in pieces:
            self._jobs.write(piece)
        self._jobs.flush()
        return read_answer(self._answers)

    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def close(self) -> int:
        """End it; its status."""
        self._process.kill()
        for pipe in (self._jobs, self._answers):
            with contextlib.suppress(OSError):  # what it has not read is lost with it
                pipe.close()
        return self._process.wait(_ENDED_WITHIN)

    def status(self) -> int:
        """How it ended, having closed its pipes."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDED_WITHIN)
        return self.close()


class PainterPool:
    """Implements ports.pictures.Painter."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._slots = threading.BoundedSemaphore(limits.painters)
        self._lock = threading.Lock()
        self._idle: list[_Painter] = []  # the one used last is last

    def paint(self, sheet: Sheet, pieces: Iterable[bytes], view: View) -> bytes:
        """See the port."""
        with self._slots:
            painter = self._take()
            try:
                outcome, body = painter.paint(sheet, pieces, view)
            except (EndedError, BrokenPipeError):
                raise self._loss(sheet, painter.status()) from None
            except BaseException:
                painter.close()  # amid a job
                raise
            self._give_back(painter)
        if outcome is Outcome.PICTURE:
            return body
        reason = body.decode("utf-8", "replace")
        if outcome is Outcome.FAILED:
            reason = f"decoding ends in {reason}"
        raise _refusal(sheet, reason)

    def close(self) -> None:
        """See the port."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.close()

    def _loss(self, sheet: Sheet, status: int) -> ImagerepoError:
        log.warning("painting.painter_lost", extra={"transfer_syntax": sheet.transfer_syntax, "status": status})
        if status == NO_ROOM:
            return _refusal(sheet, f"it takes more than {self._limits.memory} bytes (setting rendering.memory)")
        match -status:
            case signal.SIGALRM:
                limit = f"it takes longer than {self._limits.seconds:g} seconds (setting rendering.time_limit)"
                return _refusal(sheet, limit)
            case signal.SIGKILL | signal.SIGTERM:  # by whoever, not by itself: the system may be out of memory
                return UnavailableError("the process that painted was ended from outside")
            case _:
                return _refusal(sheet, "the decoder crashes on it")

    def _take(self) -> _Painter:
        """A painter that waits for a job. Raises UnavailableError."""
        since = time.monotonic() - _IDLE
        with self._lock:
            over = [one for one in self._idle if one.idle_since < since or not one.runs()]
            self._idle = [one for one in self._idle if one not in over]
            painter = self._idle.pop() if self._idle else None
        for one in over:
            one.close()
        if painter is not None:
            return painter
        try:
            return _Painter(self._limits)
        except OSError as error:
            raise UnavailableError(f"no process that paints can be started: {error.strerror}") from error

    def _give_back(self, painter: _Painter) -> None:
        painter.idle_since = time.monotonic()
        with self._lock:
            self._idle.append(painter)


def _refusal(sheet: Sheet, reason: str) -> NotAcceptableError:
    return NotAcceptableError(
        f"no picture can be made of frame {sheet.frame}: {reason}; retrieve the instance or its frames instead"
    )


def _environment() -> Mapping[str, str]:
    """Where libraries are; nothing of what else our environment holds, as secrets do."""
    return {**{name: value for name, value in os.environ.items() if name in _PLACES}, **_ONE_THREAD}
