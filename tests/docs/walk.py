"""Follow a walkthrough: the first block in a terminal of its own, the others, one after another, in a second one.

Run as a program, inside a network namespace of its own where there can be one; a new one's loopback interface is down.
Reads what to do from standard input, writes what came of it to standard output; both are JSON.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

READY = "http://127.0.0.1:8080/readyz/write"
MARK = "@@ end of block @@"
STARTED_WITHIN = 60.0  # seconds
BLOCK_WITHIN = 60.0  # seconds, all blocks together
ENDED_WITHIN = 45.0  # seconds

_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 0x1


def bring_loopback_up() -> None:
    """Like `ip link set lo up`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack("16xH14x", fcntl.ioctl(any_socket, _GET_FLAGS, asked))
        if not flags & _UP:
            fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sH14x", b"lo", flags | _UP))


def await_ready(server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + STARTED_WITHIN
    while True:
        try:
            with urllib.request.urlopen(READY, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            pass
        if server.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"the server does not serve:\n{log.read_text()}")
        time.sleep(0.1)


def follow(blocks: list[str], folder: Path) -> dict[str, object]:
    """What each of the later blocks printed, and how both terminals ended."""
    first, *others = blocks
    log = folder / "terminal-1.log"
    with log.open("wb") as printed:
        server = subprocess.Popen(
            ["bash", "-c", f"exec {first}"], cwd=folder, stdout=printed, stderr=subprocess.STDOUT
        )
    try:
        await_ready(server, log)
        script = "set -eu\n" + "".join(f"{block}\nprintf '\\n{MARK}\\n'\n" for block in others)
        done = subprocess.run(
            ["bash", "-c", script], cwd=folder, capture_output=True, timeout=BLOCK_WITHIN, check=False
        )
    finally:
        server.terminate()
        server.wait(ENDED_WITHIN)
    return {
        "printed": done.stdout.decode().split(f"\n{MARK}\n")[:-1],
        "status": done.returncode,
        "errors": done.stderr.decode(),
        "server": log.read_text(),
    }


if __name__ == "__main__":
    if os.environ.get("OWN_NETWORK"):
        bring_loopback_up()
    asked = json.load(sys.stdin)
    json.dump(follow(asked["blocks"], Path(asked["folder"])), sys.stdout)
