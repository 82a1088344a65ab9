"""The machine that figures come from, described without naming it."""

import mmap
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

FSYNCS = 200
SYNCED = 512 * 1024  # bytes
TOUCHED = 256 << 20  # bytes
TOUCHES = 8


def describe(work: Path, packages: Sequence[str]) -> dict[str, str]:
    """Return what a reader needs to judge the figures; takes a few seconds."""
    return {
        "processor": f"{_field('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "memory": f"{int(_field('/proc/meminfo', 'MemTotal').split()[0]) / 1e6:.0f} GB",
        "new memory": _new_memory(),
        "disk": f"{_file_system(work)}, {_fsyncs(work):.0f} fsynced writes of 512 KB a second",
        "system": f"{_field('/etc/os-release', 'PRETTY_NAME')}, Linux {_kernel()}, Python {platform.python_version()}",
        "peers": ", ".join(f"{package} {_package(package)}" for package in packages)
        + f", pynetdicom {version('pynetdicom')}",
        "load before": f"{os.getloadavg()[0]:.2f} (1-minute average)",
    }


def _field(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.replace("=", ":", 1).partition(":")
        if key.strip() == name:
            return value.strip().strip('"')
    return "unknown"


def _kernel() -> str:
    # Only the numbers: the rest may name who runs the machine.
    found = re.match(r"\d+\.\d+(\.\d+)?", platform.release())
    return found.group() if found else "unknown"


def _package(name: str) -> str:
    if shutil.which("dpkg-query") is None:
        return "unknown"
    shown = subprocess.run(
        ("dpkg-query", "--show", "--showformat=${Version}", name), capture_output=True, text=True, check=False
    )
    return shown.stdout or "not as a package"


def _file_system(work: Path) -> str:
    shown = subprocess.run(("df", "--output=fstype", str(work)), capture_output=True, text=True, check=False)
    return shown.stdout.split()[-1] if shown.stdout else "unknown"


def _fsyncs(work: Path) -> float:
    """Return how many times a second 512 KB can be appended to a file and made durable."""
    path = work / "fsync.probe"
    block = os.urandom(SYNCED)
    with path.open("wb", buffering=0) as file:
        start = time.perf_counter()
        for _ in range(FSYNCS):
            file.write(block)
            os.fdatasync(file.fileno())
        seconds = time.perf_counter() - start
    path.unlink()
    return FSYNCS / seconds


def _new_memory() -> str:
    """Say what touching memory costs: ten times more where a host has taken it back while it was free."""
    held: list[mmap.mmap] = []
    rates: list[float] = []
    for _ in range(TOUCHES):
        start = time.perf_counter()
        held.append(mmap.mmap(-1, TOUCHED, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE))
        rates.append((time.perf_counter() - start) * (1 << 30) / TOUCHED)
    for one in held:
        one.close()
    return f"{min(rates):.2f} to {max(rates):.2f} s for a GB touched first"
