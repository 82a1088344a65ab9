"""One daemon of the bed: started apart from us, known by pid and start time, ended as faults end it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import launch

_FOREIGN = ("CEPH_", "PG")  # variables of the caller that would lead a daemon, or a tool, elsewhere
_STEP = 0.05  # seconds
_LAST_STOP = 15.0  # seconds from SIGTERM to SIGKILL, for a daemon that may be killed


class BedError(Exception):
    """The bed can't do what was asked for; the message is one sentence for whoever asked."""


def environment() -> dict[str, str]:
    """The caller's, without what would lead Ceph's and PostgreSQL's programs to another cluster.

    HAProxy is where only root looks for programs.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return {**kept, "PATH": f"{kept.get('PATH', os.defpath)}:/usr/sbin"}


@dataclass(frozen=True, slots=True)
class Daemon:
    """One program that runs for as long as the bed does."""

    name: str
    command: tuple[str, ...]
    folder: Path  # the bed's
    end: signal.Signals = signal.SIGTERM  # a clean end
    quick_end: signal.Signals = signal.SIGKILL  # leaves nothing behind but the bed's folder, and need not save it
    expendable: bool = True  # may be killed where it does not end by itself

    @property
    def record(self) -> Path:
        """Who it is; written by itself, removed at a clean end."""
        return self.folder / "run" / f"{self.name}.json"

    @property
    def output(self) -> Path:
        """What it says."""
        return self.folder / "log" / f"{self.name}.out"

    def pid(self) -> int | None:
        """Of the very process that was started, if it runs."""
        known = self._recorded()
        return known[0] if known and launch.identity(known[0]) == known[1] else None

    def ended_unasked(self) -> bool:
        """Whether it was started, has ended, and nobody had asked it to."""
        return self._recorded() is not None and self.pid() is None

    def start(self) -> bool:
        """Start it unless it runs; whether it had to be started."""
        if self.pid() is not None:
            return False
        program = [sys.executable, "-I", "-S", launch.__file__, str(self.record), str(self.output), *self.command]
        done = subprocess.run(
            program, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment(), check=False
        )
        if done.returncode or done.stderr:
            reason = done.stderr.strip().rpartition("\n")[2] or f"status {done.returncode}"
            raise BedError(f"{self.name} could not be started: {reason}")
        return True

    def stop(self, timeout: float = 120.0) -> bool:
        """Ask it to end, and wait; whether it ran. Raises BedError: it goes on, and must not be killed."""
        pid = self.pid()
        if pid is None:
            self.record.unlink(missing_ok=True)
            return False
        self.resume()
        _send(pid, self.end)
        if not self._ends_within(_LAST_STOP if self.expendable else timeout):
            if not self.expendable:
                raise BedError(f"{self.name} (pid {pid}) did not end within {timeout:.0f} s; see {self.output}")
            self.kill()
        self.record.unlink(missing_ok=True)
        return True

    def kill(self) -> bool:
        """`kill -9` to it and its children at once, as when its machine fails; whether it ran."""
        tree = self._tree()
        for pid in tree:
            _send(pid, signal.SIGKILL)
        if not comes_true(lambda: all(launch.identity(pid) is None for pid in tree), 30.0):
            raise BedError(f"{self.name} (pid {tree[0]}) can't be killed: the system holds it")
        return bool(tree)

    def pause(self) -> bool:
        """Stop it and its children where they are; whether it runs."""
        tree = self._tree()
        for pid in tree:
            _send(pid, signal.SIGSTOP)
        comes_true(lambda: all(map(launch.stands, tree)), _LAST_STOP)
        return bool(tree)

    def resume(self) -> bool:
        """Let them go on; whether it runs."""
        tree = self._tree()
        for pid in tree:
            _send(pid, signal.SIGCONT)
        return bool(tree)

    def discard(self) -> bool:
        """End it for good, since what it keeps will be removed; whether it ran."""
        pid = self.pid()
        if pid is None:
            return False
        if self.quick_end is not signal.SIGKILL:
            self.resume()
            _send(pid, self.quick_end)
            if self._ends_within(_LAST_STOP):
                return True
        self.kill()
        return True

    def resident(self) -> int:
        """Memory of it and its children, in bytes."""
        pages = 0
        for pid in self._tree():
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def last_words(self) -> str:
        """The last line that it said."""
        try:
            lines = self.output.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:
            lines = []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def wait(self, what: str, holds: Callable[[], bool], timeout: float) -> None:
        """Return when `holds` does. Raises BedError: it does not in time, or this daemon has ended."""
        ended = False

        def settled() -> bool:
            nonlocal ended
            ended = self.pid() is None
            return ended or holds()

        if not comes_true(settled, timeout):
            raise BedError(f"{what}: not within {timeout:.0f} s; see {self.folder / 'log'}")
        if ended:
            raise BedError(f"{self.name} ended at once: {self.last_words()} ({self.output})")

    def _recorded(self) -> tuple[int, str] | None:
        try:
            known = json.loads(self.record.read_text(encoding="ascii"))
            return int(known["pid"]), str(known["identity"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _tree(self) -> list[int]:
        """Parents before their children."""
        pid = self.pid()
        tree = [] if pid is None else [pid]
        for one in tree:
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    tree += [int(child) for child in children.read_text(encoding="ascii").split()]
        return tree

    def _ends_within(self, timeout: float) -> bool:
        return comes_true(lambda: self.pid() is None, timeout)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def comes_true(holds: Callable[[], bool], timeout: float) -> bool:
    """Wait until it holds; False: it did not within that many seconds."""
    until = time.monotonic() + timeout
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(_STEP)
    return True
