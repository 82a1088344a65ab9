"""Have a worker of the real server die at a named step of a commit. Python imports this from PYTHONPATH at its start.

A step is armed by a file of its name in the folder that KILL_POINTS names, `WORKER.STEP`; the worker that reaches it
removes the file and dies by SIGKILL, the whole tree with it if the file says `tree`.
"""

import os
import re
import signal
import sqlite3
import sys
from pathlib import Path

FOLDER = os.environ.get("KILL_POINTS")
WORKER = re.search(r"imagerepo\.processes\.(dimse|http)_worker", " ".join(sys.orig_argv))


def is_armed(step: str) -> bool:
    return Path(f"{FOLDER}/{WORKER[1]}.{step}").exists()


def reach(step: str) -> None:
    armed = Path(f"{FOLDER}/{WORKER[1]}.{step}")
    try:
        whom = armed.read_text()
        armed.unlink()
    except FileNotFoundError:
        return
    if whom == "tree":
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)


def install() -> None:
    pwritev, fdatasync, fsync, opened = os.pwritev, os.fdatasync, os.fsync, sqlite3.connect

    def torn_pwritev(descriptor, buffers, offset, *flags):
        if is_armed("torn"):
            whole = b"".join(buffers)
            os.pwrite(descriptor, whole[: len(whole) // 2], offset)
            reach("torn")
        return pwritev(descriptor, buffers, offset, *flags)

    def killing_fdatasync(descriptor):
        reach("appended")
        fdatasync(descriptor)
        reach("flushed")

    def killing_fsync(descriptor):
        reach("filed")
        fsync(descriptor)

    class Connection(sqlite3.Connection):
        def execute(self, sql, *parameters):
            if sql != "COMMIT":
                return super().execute(sql, *parameters)
            reach("rows written")
            done = super().execute(sql)
            reach("rows visible")
            return done

    os.pwritev, os.fdatasync, os.fsync = torn_pwritev, killing_fdatasync, killing_fsync
    sqlite3.connect = lambda *arguments, **named: opened(*arguments, **named, factory=Connection)


if FOLDER and WORKER:
    install()
