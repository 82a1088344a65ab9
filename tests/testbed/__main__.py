"""`python -m tests.testbed up|down|status`: the bed for people."""

import argparse
import logging
import sys
import time
from pathlib import Path

from tests.testbed.bed import Bed
from tests.testbed.daemon import BedError


def _up(bed: Bed) -> int:
    begun = time.monotonic()
    bed.up()
    _print(f"the test bed is up after {time.monotonic() - begun:.0f} s: {bed.folder / 'state.json'}")
    return 0


def _down(bed: Bed) -> int:
    _print("the test bed is down" if bed.down() else f"there is no test bed in {bed.folder}")
    return 0


def _status(bed: Bed) -> int:
    for one in bed.running():
        _print(f"{one.name:9} {f'pid {one.pid}' if one.pid else 'does not run':>12} {one.resident >> 20:5} MiB")
    complaints = bed.complaints()
    _print("\n".join(complaints) or "healthy")
    return 1 if complaints else 0


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """The exit status: 1 where the bed is not as asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.testbed", description="Ceph, PostgreSQL and HAProxy.")
    parser.add_argument("verb", choices=["up", "down", "status"])
    parser.add_argument("--dir", type=Path, default=Path(".testbed"), help="folder of all its state (%(default)s)")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stdout)
    logging.getLogger("testbed").setLevel(logging.INFO)
    try:
        return {"up": _up, "down": _down, "status": _status}[asked.verb](Bed.at(asked.dir))
    except BedError as error:
        sys.stderr.write(f"testbed: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("testbed: interrupted; `up` goes on from here, `down` removes what there is\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
