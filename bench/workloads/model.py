"""What a workload is, what it measures, and the ground it stands on."""

import mmap
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import ClassVar, Protocol, TypeVar

from bench import generate
from bench.generate import Instance, Shape
from bench.servers.process import Nagle, Server, Usage

TOUCHED = 1 << 30  # bytes
Result = TypeVar("Result")
AnyServer = TypeVar("AnyServer", bound=Server)


class Subject(Protocol):
    """What is measured: mostly a server."""

    name: ClassVar[str]
    what: ClassVar[str]

    @classmethod
    def missing(cls) -> str:
        """Say what must be installed first; empty when nothing."""
        ...


class Better(Enum):
    """Which way a figure is better."""

    HIGHER = "higher"
    LOWER = "lower"


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a workload."""

    name: str
    unit: str
    better: Better


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value of one metric, and what client and server used for it."""

    metric: str
    value: float
    client_cores: float = 0.0
    server_cores: float = 0.0
    server_peak: int = 0  # bytes resident


@dataclass(frozen=True, slots=True)
class Ground:
    """Where a benchmark works and how much it does."""

    work: Path
    instances: int  # for the workloads of 500
    series: int  # for the workloads of 1,000
    seconds: int  # of load for the workloads that repeat requests
    scales: tuple[int, int]  # indexed instances

    @property
    def scratch(self) -> Path:
        """Folder for what clients need."""
        folder = self.work / "scratch"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def corpus(self, shape: Shape, count: int) -> list[Instance]:
        """Return the first `count` instances of a shape, as files in the page cache."""
        found = generate.corpus(shape, self.work / "corpus")[:count]
        for instance in found:
            instance.path.read_bytes()
        return found

    def server(self, kind: type[AnyServer], nagle: Nagle = Nagle.OFF) -> AnyServer:
        """Return a server, not started, with a folder of its own."""
        return kind(self.work / "data" / kind.name, nagle)


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing that is measured, on each of its servers."""

    name: str
    what: str
    metrics: tuple[Metric, ...]
    servers: tuple[type[Subject], ...]
    run: Callable[[type[Subject], Ground], list[Measurement]]
    programs: tuple[str, ...] = ()
    """What its clients need on PATH."""

    single: bool = False
    """Run once, however many repeats are asked for, since its preparation takes minutes."""

    def missing(self) -> set[str]:
        """Say what must be installed before it can run."""
        programs = {f"{name} is not installed: run bench/setup" for name in self.programs if not shutil.which(name)}
        return programs | {server.missing() for server in self.servers} - {""}


class Used(Protocol):
    """What can say what was used for it."""

    def usage(self) -> Usage:
        """CPU so far, and memory peaks."""
        ...


@dataclass(frozen=True, slots=True)
class Cost:
    """What a server used while something was measured."""

    cores: float
    peak: int  # bytes resident


def settle() -> None:
    """Give every measured run the same start: nothing left to write back, and memory that is really there.

    A virtual machine may hand freed memory back to its host; getting it again costs a millisecond per 512 KB, more
    than storing an instance. Touched and freed now, it is there for the run that follows.
    """
    os.sync()
    mmap.mmap(-1, TOUCHED, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE).close()


def observed(server: Used, action: Callable[[], Result], seconds_of: Callable[[Result], float]) -> tuple[Result, Cost]:
    """Run `action` from a settled start; return its result and what the server used for it."""
    settle()
    before = server.usage()
    result = action()
    after = server.usage()
    return result, Cost((after.cpu - before.cpu) / seconds_of(result), after.peak_resident)
