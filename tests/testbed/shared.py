"""One bed for all tests of a session, brought up where the first of them asks, taken down at the session's end.

A session that was killed leaves its bed; the next one takes that down.
"""

import atexit
import functools
import os
import tempfile
from pathlib import Path

from tests.testbed import launch
from tests.testbed.bed import Bed

_PREFIX = "imagerepo-testbed-"
_OWNER = "owner"  # pid and identity of the session's process


@functools.cache
def shared_bed() -> Bed:
    """The session's bed, healthy when it is made; a test that breaks it mends it."""
    _take_down_forgotten()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_BENEATH))
    (folder / _OWNER).write_text(f"{os.getpid()} {launch.identity(os.getpid())}", encoding="ascii")
    bed = Bed.at(folder)
    atexit.register(_take_down, bed)
    bed.up()
    return bed


# Not pytest's: its folders have paths that are too long for sockets.
_BENEATH = Path(tempfile.gettempdir())


def _take_down_forgotten() -> None:
    for owner in _BENEATH.glob(f"{_PREFIX}*/{_OWNER}"):
        pid, _, identity = owner.read_text(encoding="ascii").partition(" ")
        if identity and launch.identity(int(pid)) != identity:  # empty: another session is just writing it
            _take_down(Bed.at(owner.parent))


def _take_down(bed: Bed) -> None:
    bed.down()
    (bed.folder / _OWNER).unlink()
    bed.folder.rmdir()
