"""A server's life: a fresh folder, free ports on loopback, ready, measured, stopped by its own id."""

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import Enum
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from bench.clients import upper_layer

READY_LIMIT = 60  # seconds
STOP_LIMIT = 30  # seconds
REST_STEP = 0.25  # seconds between looks at whether a server is at rest
REST_CORES = 0.1  # cores that it may use then
NAGLE_VARIABLE = "TCP_NODELAY"
TICKS = os.sysconf("SC_CLK_TCK")


class ServerError(Exception):
    """A server is missing, did not become ready or lost what it acknowledged."""


class Nagle(Enum):
    """What a server's environment says about Nagle's algorithm to programs built on dcmtk."""

    OFF = "1"
    AS_IT_COMES = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server's processes have used."""

    cpu: float  # seconds
    peak_resident: int  # bytes, each process's peak, added up: pages they share count several times


class Server(ABC):
    """One program under test. A context: started on entry in an empty folder, stopped and wiped on exit."""

    name: ClassVar[str]
    what: ClassVar[str]
    """One line for the report: version-independent, with the settings that matter."""
    ae_title: ClassVar[str] = "BENCH"
    settling: ClassVar[float] = 0.5
    """Seconds with next to no work after which it is at rest."""

    def __init__(self, folder: Path, nagle: Nagle = Nagle.OFF) -> None:
        self.folder = folder
        self.log = folder.with_suffix(".log")
        self.nagle = nagle
        self.http_port = free_port()
        self.dicom_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """Say what must be installed first; empty when nothing."""

    @abstractmethod
    def configure(self) -> Sequence[str]:
        """Write what the program reads into the empty folder; return its command line."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it answers."""

    def __enter__(self) -> Self:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.populate()
        command = self.configure()
        environment = {name: value for name, value in os.environ.items() if name != NAGLE_VARIABLE}
        if self.nagle is Nagle.OFF:
            environment[NAGLE_VARIABLE] = self.nagle.value
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        try:
            self._wait()
            self.rest()
        except BaseException:
            self._stop()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def populate(self) -> None:
        """Make the folder, and put into it what must be there before the program starts."""
        self.folder.mkdir(parents=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def usage(self) -> Usage:
        """CPU so far of all that works for it, and memory peaks."""
        return self.own_usage()

    def own_usage(self) -> Usage:
        """Likewise of all processes in its session alone."""
        return usage_of(set() if self._process is None else {self._process.pid})

    def rest(self) -> None:
        """Wait until it has done what it does for itself: it would run for months before what is measured here."""
        deadline = time.monotonic() + READY_LIMIT
        quiet_since, used = time.monotonic(), self.own_usage().cpu
        while (now := time.monotonic()) < min(deadline, quiet_since + self.settling):
            time.sleep(REST_STEP)
            before, used = used, self.own_usage().cpu
            if used - before > REST_STEP * REST_CORES:
                quiet_since = now

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_LIMIT
        while not self.ready():
            if self._process is None or self._ended(self._process.pid):
                raise ServerError(f"{self.name} ended while it started; its log ends:\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise ServerError(f"{self.name} was not ready within {READY_LIMIT} s; log:\n{self._log_tail()}")
            time.sleep(0.05)

    def _stop(self) -> None:
        if self._process is None:
            return
        # Not `terminate()`, which reaps a process that has ended.
        os.kill(self._process.pid, signal.SIGTERM)
        deadline = time.monotonic() + STOP_LIMIT
        while not self._ended(self._process.pid):
            if time.monotonic() > deadline:
                print(f"  ! {self.name} did not end within {STOP_LIMIT} s of SIGTERM: killed", flush=True)
                break
            time.sleep(0.02)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    @staticmethod
    def _ended(pid: int) -> bool:
        """Whether it ended; not reaped, so that its number, which is its group's too, stays its own."""
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None

    def _log_tail(self) -> str:
        return self.log.read_text(errors="replace")[-2000:]


def usage_of(roots: AbstractSet[int]) -> Usage:
    """What the processes have used whose session or parent is one of `roots`."""
    cpu, resident = 0.0, 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # After the name in parentheses; numbers as in proc(5), of which the third is the first here.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            status = (entry / "status").read_text()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[3]) not in roots and int(fields[1]) not in roots:
            continue
        ticks = sum(int(fields[n]) for n in (11, 12, 13, 14))  # own, and of children it has waited for
        peak = next((int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM:")), 0)
        cpu += ticks / TICKS
        resident += peak * 1024
    return Usage(cpu, resident)


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers_http(port: int, path: str) -> bool:
    """Whether a GET brings 200."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def accepts_associations(port: int, called: str) -> bool:
    """Whether an association request is accepted; it is released at once."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(upper_layer.associate_request(called, "BENCH"))
            kind = connection.recv(1)
            connection.recv(65_536)
            connection.sendall(upper_layer.RELEASE_REQUEST)
            connection.recv(16)
            return kind == bytes([upper_layer.ASSOCIATE_AC])
    except OSError:
        return False
