"""The real server: `imagerepo serve` as people start it, ended as faults end it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

COMMAND = Path(sys.executable).with_name("imagerepo")
_STARTED_WITHIN = 90.0  # seconds
_ENDED_WITHIN = 60.0


class NotStartedError(Exception):
    """The server ended before it was ready; the message is all it said."""


@dataclass(frozen=True)
class Worker:
    """A worker process, as /proc has it."""

    pid: int
    kind: str  # "http" or "dimse"

    @property
    def resident(self) -> int:
        """Anonymous memory and mapped files that are in memory, in bytes."""
        fields = dict(line.split(":", 1) for line in Path(f"/proc/{self.pid}/status").read_text().splitlines())
        return sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))


class Server:
    """One process tree on one data folder, on ports that the system chose. Leaving the context ends all of it."""

    def __init__(self, data: Path, *flags: str, workers: int = 1, **settings: object) -> None:
        """Start and wait until it serves; `settings` as dimse__max_pdu=16384. Raises NotStartedError."""
        self.data = data
        # Not beside the data: the disk they are on may be full.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed where the server ends
        given = {f"IMAGEREPO_{name.upper()}": str(value) for name, value in settings.items()}
        command = [str(COMMAND), "serve", "--data", str(data), "--workers", str(workers)]
        if "--listen" not in flags:
            command += ["--listen", "127.0.0.1:0"]
        if "--dicom-listen" not in flags:
            command += ["--dicom-listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*command, *flags],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**_inherited(), **given},
        )
        try:
            said = self._await(r"imagerepo is ready")
        except BaseException:
            self.kill()
            self._log.close()
            raise
        self.http = _port(said, r"DICOMweb +http://127\.0\.0\.1:(\d+)/dicom-web")
        self.dimse = _port(said, r"DIMSE +\S+ at 127\.0\.0\.1:(\d+)")
        # Of TLS, where the settings have such ports.
        self.https = int(found[1]) if (found := re.search(r"HTTPS +https://127\.0\.0\.1:(\d+)/", said)) else 0
        self.dimse_tls = int(found[1]) if (found := re.search(r"DICOM TLS +\S+ at 127\.0\.0\.1:(\d+)", said)) else 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()
        if error is not None:
            error.add_note(f"the server said:\n{self.said()[-4000:]}")
        self._log.close()

    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.process.poll() is not None

    @property
    def url(self) -> str:
        """Of HTTP."""
        return f"http://127.0.0.1:{self.http}"

    def said(self) -> str:
        """Standard output and error until now."""
        number = self._log.fileno()
        return os.pread(number, os.fstat(number).st_size, 0).decode(errors="replace")

    def workers(self) -> list[Worker]:
        """Those that run."""
        found = []
        for pid in _children(self.process.pid):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if named := re.search(r"imagerepo\.processes\.(http|dimse)_worker", command):
                found.append(Worker(pid, named[1]))
        return found

    def terminate(self) -> None:
        """SIGTERM, without waiting."""
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = _ENDED_WITHIN) -> int:
        """The exit status."""
        return self.process.wait(timeout)

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.terminate()
        return self.wait()

    def freeze(self) -> None:
        """Stop the whole tree where it is."""
        os.killpg(self.process.pid, signal.SIGSTOP)
        for pid in [self.process.pid, *(worker.pid for worker in self.workers())]:
            while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"T", "t", "Z"}:
                time.sleep(0.001)

    def thaw(self) -> None:
        """Let it go on."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL to the whole tree at once; returns when nothing of it runs."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(_ENDED_WITHIN)
        self.await_end_of_tree()

    def kill_parent(self) -> None:
        """SIGKILL to the parent alone."""
        self.process.kill()
        self.process.wait(_ENDED_WITHIN)

    def await_end_of_tree(self) -> None:
        """Wait until no process of the tree's session is left."""
        until = time.monotonic() + _ENDED_WITHIN
        while _group_runs(self.process.pid):
            assert time.monotonic() < until, "a worker outlived its server"
            time.sleep(0.005)

    def _await(self, pattern: str) -> str:
        until = time.monotonic() + _STARTED_WITHIN
        while time.monotonic() < until:
            said = self.said()
            # The greeting is printed at once, its last line last.
            if re.search(pattern, said) and "Stop with" in said:
                return said
            if self.process.poll() is not None:
                raise NotStartedError(f"status {self.process.returncode}: {self.said()}")
            time.sleep(0.02)
        raise NotStartedError(f"not ready after {_STARTED_WITHIN} s: {self.said()}")


def _inherited() -> Mapping[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("IMAGEREPO_")}


def _port(said: str, pattern: str) -> int:
    found = re.search(pattern, said)
    assert found is not None, said
    return int(found[1])


def _children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _group_runs(group: int) -> bool:
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of_group = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of_group) == group and state != "Z":
            return True
    return False
