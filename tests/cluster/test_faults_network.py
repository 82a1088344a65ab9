"""The network between the parts swallows packets while clients store and read: in a network of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.skipif(os.geteuid() != 0, reason="making a network takes root")
def test_packets_that_are_swallowed_lose_nothing_that_was_acknowledged() -> None:
    cases = ["tests/cluster/in_a_network.py", "-q", "--log-level=INFO", "-rA", "-p", "no:cacheprovider"]
    program = [sys.executable, "-m", "pytest", *cases]
    done = subprocess.run(
        ["unshare", "--net", "--kill-child", *program],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=1100,
        check=False,
    )
    sys.stdout.write(done.stdout)
    assert done.returncode == 0, done.stdout[-8000:]
