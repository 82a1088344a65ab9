"""One bed for all tests of a session, brought up where the first of them asks, taken down at the session's end.

A session that was killed leaves its bed; the next one takes that down. What needs PostgreSQL alone has one by itself,
which is there within two seconds.
"""

import atexit
import functools
import os
import tempfile
from pathlib import Path

from tests.testbed import launch, plan, postgres
from tests.testbed.bed import Bed, require_programs

_PREFIX = "imagerepo-testbed-"
_OWNER = "owner"  # pid and identity of the session's process


@functools.cache
def shared_bed() -> Bed:
    """The session's bed, healthy when it is made; a test that breaks it mends it."""
    bed = _own_bed()
    bed.up()
    return bed


@functools.cache
def shared_postgres() -> postgres.Server:
    """The session's PostgreSQL for tests that need nothing else of a bed; a test that breaks it mends it."""
    return own_postgres()


def own_postgres() -> postgres.Server:
    """Another PostgreSQL, until the session's end."""
    require_programs()
    bed = _own_bed()
    for name in ("log", "run"):
        (bed.folder / name).mkdir()
    plan.save(bed.folder / "state.json", plan.make(), bed.folder, {})
    bed.postgres.up()
    return bed.postgres


def _own_bed() -> Bed:
    _take_down_forgotten()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_BENEATH))
    (folder / _OWNER).write_text(f"{os.getpid()} {launch.identity(os.getpid())}", encoding="ascii")
    bed = Bed.at(folder)
    atexit.register(_take_down, bed)
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
