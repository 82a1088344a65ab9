"""Become a daemon: in a session of its own, with none of the caller's descriptors, on record before it does anything.

A program of its own (`launch.py RECORD OUTPUT COMMAND...`), because a fork is safe where there is one thread. The
record is written before the daemon's program begins and stays true when it does: exec changes neither pid nor start
time. So whoever is killed in the middle leaves no daemon that nobody knows of.
"""

import json
import os
import sys
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_ENDED = {"Z", "X"}  # states of what nobody has waited for yet, and of what is gone


def identity(pid: int) -> str | None:
    """What tells a process from a later one of the same pid; None: it has ended.

    Source: proc(5), /proc/pid/stat, field 22 (starttime, in ticks since the system's start).
    """
    fields = _stat(pid)
    return None if fields[0] in _ENDED else f"{_BOOT.read_text(encoding='ascii').strip()}/{fields[19]}"


def stands(pid: int) -> bool:
    """Whether it is stopped where it is, or has ended."""
    return _stat(pid)[0] in {"T", *_ENDED}


def _stat(pid: int) -> list[str]:
    """The state and what follows it.

    Source: proc(5), /proc/pid/stat, from field 3.
    """
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ["X"]


def become(record: Path, output: Path, command: list[str]) -> None:
    """Fork; the parent ends, the child records itself and becomes `command`."""
    if os.fork():
        os._exit(0)
    os.setsid()
    written = record.with_suffix(".new")
    written.write_text(json.dumps({"pid": os.getpid(), "identity": identity(os.getpid())}), encoding="ascii")
    written.replace(record)
    os.chdir("/")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.closerange(3, said + 1)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode())
        os._exit(127)


if __name__ == "__main__":
    become(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
