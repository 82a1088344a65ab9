"""dcmtk's own servers: storescp, which takes what it is sent, and dcmqrscp, an archive."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_WITHIN = 20.0  # seconds


def free_port() -> int:
    """A port that nobody listens on, for programs that take no other kind."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


@contextmanager
def running(port: int, *command: str) -> Iterator[None]:
    """Run a server, from when it listens; end it with SIGTERM."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + _WITHIN
            while not _listens(port):
                assert time.monotonic() < until, f"{command[0]} does not listen"
                assert process.poll() is None, f"{command[0]} ended"
                time.sleep(0.02)
            yield
        finally:
            process.terminate()


@contextmanager
def storescp(folder: Path, ae_title: str, *options: str) -> Iterator[int]:
    """A destination, which writes to `folder`. Yields its port."""
    folder.mkdir(exist_ok=True)
    port = free_port()
    with running(port, "storescp", "-od", str(folder), "-aet", ae_title, *options, str(port)):
        yield port


@contextmanager
def dcmqrscp(folder: Path, ae_title: str, destinations: dict[str, int]) -> Iterator[int]:
    """An archive in `folder`, which knows destinations by AE title. Yields its port."""
    stored = folder / "db"
    stored.mkdir(parents=True)
    port = free_port()
    hosts = "".join(f"host{at} = ({one}, 127.0.0.1, {to})\n" for at, (one, to) in enumerate(destinations.items()))
    configuration = folder / "dcmqrscp.cfg"
    configuration.write_text(
        f"NetworkTCPPort = {port}\nMaxPDUSize = 16384\nMaxAssociations = 16\n"
        f"HostTable BEGIN\n{hosts}HostTable END\nVendorTable BEGIN\nVendorTable END\n"
        f"AETable BEGIN\n{ae_title} {stored} RW (200, 1024mb) ANY\nAETable END\n"
    )
    with running(port, "dcmqrscp", "-c", str(configuration)):
        yield port


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
