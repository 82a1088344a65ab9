"""A painter's process: takes jobs from its standard input one after another, and ends when nobody has any more.

It holds nothing worth taking: no file, no socket; its memory and its time are limited, it can write no file and leave
no core. A decoder that crashes takes this process with it, and the pool starts another.
"""

import contextlib
import os
import resource
import select
import signal
import sys
import warnings
from typing import Final

from imagerepo.adapters.painting.messages import NO_ROOM, EndedError, Outcome, read_job, write_answer
from imagerepo.dicom.picture import paint
from imagerepo.errors import NotAcceptableError
from imagerepo.model.picture import Parts, Sheet, View

IDLE: Final = 120.0
"""Seconds without a job after which a painter ends."""

_FILES: Final = 64  # descriptors
_SENTENCE: Final = 300  # characters of what a decoder says


def main() -> None:
    """Paint until there is nothing more to do; the arguments are bytes of memory, and seconds for one picture."""
    memory, seconds = int(sys.argv[1]), float(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; only the parent answers it
    answers = os.fdopen(os.dup(1), "wb")
    # Decoders talk on standard output.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    _limit(memory)
    warnings.simplefilter("ignore")
    jobs = sys.stdin.buffer
    while select.select([jobs], [], [], IDLE)[0]:
        try:
            sheet, view, parts = read_job(jobs)
        except EndedError:
            return
        except MemoryError:
            sys.exit(NO_ROOM)  # the rest of the job is in the pipe
        # Nobody handles the signal: it ends the process, also amid a decoder that never returns to the interpreter,
        # and when whoever would have ended it is gone.
        signal.setitimer(signal.ITIMER_REAL, seconds)
        outcome, body = _try(sheet, parts, view, memory)
        signal.setitimer(signal.ITIMER_REAL, 0)
        del parts
        with contextlib.suppress(BrokenPipeError):
            answers.write(write_answer(outcome, body))
            answers.flush()


def _try(sheet: Sheet, parts: Parts, view: View, memory: int) -> tuple[Outcome, bytes]:
    try:
        return Outcome.PICTURE, paint(sheet, parts, view)
    except NotAcceptableError as error:
        return Outcome.REFUSED, str(error).encode("utf-8", "replace")
    except MemoryError:
        return Outcome.REFUSED, f"it takes more than {memory} bytes (setting rendering.memory)".encode()
    except Exception as error:  # noqa: BLE001 - the process's edge: decoders raise what they like
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return Outcome.FAILED, text[:_SENTENCE].encode("utf-8", "replace")


def _limit(memory: int) -> None:
    for what, limit in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _FILES),
    ):
        with contextlib.suppress(ValueError, OSError):  # a stricter one is in force, or the system has none
            resource.setrlimit(what, (limit, limit))


if __name__ == "__main__":
    main()
