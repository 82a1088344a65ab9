"""The bed: everything up, everything down, and the faults in between.

One folder has all of its state. Whoever brings the bed up or down holds the folder's lock, so that two commands do not
start the same daemon. What `down` removes is listed: the folder may have other things in it.
"""

import contextlib
import fcntl
import os
import pwd
import re
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.testbed import ceph, haproxy, plan, postgres, replica_settings, s3
from tests.testbed.daemon import BedError, Daemon, environment
from tests.testbed.plan import DATA_CENTERS, OSDS, Plan
from tests.testbed.replica_settings import Shared

PACKAGES: Final = {
    "ceph": "ceph-common",
    "ceph-mon": "ceph-mon",
    "monmaptool": "ceph-common",
    "ceph-mgr": "ceph-mgr",
    "ceph-osd": "ceph-osd",
    "radosgw": "radosgw",
    "radosgw-admin": "radosgw",
    "haproxy": "haproxy",
    "setpriv": "util-linux",
}
"""Programs that are started, and the packages of Debian that have them."""

_MINE: Final = (
    *("ceph.conf", replica_settings.FILE, "state.json"),
    *("ceph", "haproxy", "log", "postgres", "replicas", "run", replica_settings.SECRETS),
)
_LONGEST: Final = 60  # bytes; the longest socket's path has 40 more, and unix(7) ends at 107
_PLAIN: Final = re.compile(r"[\w/.+@,=-]+")


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon, as it is."""

    name: str
    pid: int | None
    resident: int  # bytes


@dataclass(frozen=True, slots=True)
class Bed:
    """A bed in a folder, whether it is up or not."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> "Bed":
        """Raises BedError: daemons could not use that folder."""
        folder = folder.resolve()
        if not _PLAIN.fullmatch(str(folder)):
            raise BedError(f"{folder} has characters that configuration files give a meaning; choose another folder")
        if len(os.fsencode(folder)) > _LONGEST:
            raise BedError(f"{folder} is too long for the sockets in it: more than {_LONGEST} bytes")
        return cls(folder)

    @property
    def plan(self) -> Plan:
        """Addresses and credentials. Raises BedError: there is no bed."""
        found = plan.load(self._state)
        if found is None:
            raise BedError(f"there is no test bed in {self.folder}: `make testbed-up` makes one")
        return found

    @property
    def ceph(self) -> ceph.Ceph:
        """The cluster."""
        return ceph.Ceph(self.folder, self.plan)

    @property
    def postgres(self) -> postgres.Server:
        """The database."""
        return postgres.Server(self.folder, self.plan)

    @property
    def haproxy(self) -> haproxy.Proxy:
        """The balancer."""
        return haproxy.Proxy(self.folder, self.plan)

    def s3(self, attempts: int = 1) -> AbstractContextManager[Any]:
        """A boto3 client."""
        return s3.client(self.plan.s3, attempts)

    def up(self) -> None:
        """Make what is missing, start what does not run, let go on what is paused; returns when all is healthy."""
        require_programs()
        with self._alone():
            if plan.load(self._state) is None:
                self._save(plan.make())
            for name in ("log", "run"):
                (self.folder / name).mkdir(exist_ok=True)
            self._require_ports()
            for daemon in self.daemons():
                daemon.resume()
            try:
                self.postgres.up()
                self.haproxy.up()
                self.ceph.up()
                self._make_repository()
            finally:
                self._save(self.plan)

    def down(self) -> bool:
        """End all that was started, remove what it left; whether there was something. What was stored is gone."""
        if not self.folder.is_dir():
            return False
        with self._alone():
            ended = [self._ending(path.stem).discard() for path in sorted((self.folder / "run").glob("*.json"))]
            if not self._state.exists() and not any(ended):
                return False
            for name in _MINE:
                _remove(self.folder / name)
            with contextlib.suppress(OSError):
                self.folder.rmdir()  # unless there is something else
        return True

    def daemons(self) -> list[Daemon]:
        """All, in the order of their start."""
        return [self.postgres.daemon, self.haproxy.daemon, *self.ceph.daemons()]

    def running(self) -> list[Running]:
        """All daemons, as they are."""
        return [Running(one.name, one.pid(), one.resident()) for one in self.daemons()]

    def complaints(self) -> list[str]:
        """Why the bed is not healthy; none: it is."""
        found = [f"{one.name} does not run" for one in self.daemons() if one.pid() is None]
        if not found:
            found += [f"ceph: {said}"] if (said := self.ceph.complaint()) else []
            found += [] if s3.works(self.plan.s3) else ["rgw.main does not store objects"]
            found += [] if self.postgres.answers() else ["postgres does not answer"]
            found += [] if self.haproxy.answers() else ["haproxy does not answer"]
        return found

    def start(self, name: str) -> None:
        """Start `rgw.main`, `osd.3`, `dc:dc-b`, `postgres`, `haproxy`, …; returns when it does its work."""
        for one in self._named(name):
            if one.name == "postgres":
                self.postgres.start()
            elif one.name == "haproxy":
                self.haproxy.start()
            else:
                self.ceph.start(one.name)
        self._save(self.plan)

    def stop(self, name: str) -> None:
        """Let it end properly. OSDs write their objects to disk."""
        for one in self._named(name):
            one.stop()
        self._save(self.plan)

    def kill(self, name: str) -> None:
        """`kill -9`. OSDs lose their objects."""
        for one in self._named(name):
            one.kill()
        self._save(self.plan)

    def pause(self, name: str) -> None:
        """Stop it where it is; its connections stay."""
        for one in self._named(name):
            one.pause()

    def resume(self, name: str) -> None:
        """Let what is paused go on."""
        for one in self._named(name):
            one.resume()

    @property
    def _state(self) -> Path:
        return self.folder / "state.json"

    def _make_repository(self) -> None:
        """Settings of replicas, and the tables that they find; their buckets they make themselves."""
        written = replica_settings.write(self.folder, self.plan, Shared(self.plan.postgres.database))
        replica_settings.upgrade_schema(written)

    def _save(self, chosen: Plan) -> None:
        pids = {path.stem: Daemon(path.stem, (), self.folder).pid() for path in (self.folder / "run").glob("*.json")}
        plan.save(self._state, chosen, self.folder, {name: pid for name, pid in sorted(pids.items()) if pid})

    def _named(self, name: str) -> list[Daemon]:
        if name.startswith("dc:"):
            wanted = {osd.name for osd in OSDS if osd.data_center == name.removeprefix("dc:")}
        else:
            wanted = {name}
        found = [one for one in self.daemons() if one.name in wanted]
        if not found:
            known = ", ".join([one.name for one in self.daemons()] + [f"dc:{one}" for one in DATA_CENTERS])
            raise BedError(f"there is no {name}; there are {known}")
        return found

    def _ending(self, name: str) -> Daemon:
        """A daemon to end, where `state.json` may be damaged."""
        if name == "postgres":
            return Daemon(name, (), self.folder, quick_end=postgres.QUICK_END)
        return Daemon(name, (), self.folder)

    def _require_ports(self) -> None:
        chosen = self.plan
        ports = {
            "postgres": [chosen.postgres.port],
            "haproxy": [chosen.haproxy.http_port, chosen.haproxy.dimse_port],
            "mon.a": [chosen.ceph.mon_port],
            "rgw.main": [chosen.s3.port],
            "rgw.lc": [chosen.s3.lifecycle_port],
        }
        for daemon in self.daemons():
            for port in ports.get(daemon.name, []) if daemon.pid() is None else []:
                if not plan.is_free(port):
                    raise BedError(
                        f"port {port} on {plan.HOST}, which {daemon.name} needs, is taken by another program: "
                        "end that, or take the bed down and bring it up on other ports"
                    )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the folder's lock, on the folder itself, so that nothing remains of it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise BedError(f"{self.folder} can't be used as a folder: {error.strerror}") from error
        try:
            try:
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BedError(f"another command is bringing {self.folder} up or down; wait for it") from None
            yield
        finally:
            os.close(number)


def require_programs() -> None:
    """Raises BedError: something is not installed, or nobody is there to run PostgreSQL."""
    postgres.program("postgres")
    path = environment()["PATH"]
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program, path=path) is None})
    if missing:
        raise BedError(f"packages are missing: {', '.join(missing)}; `tests/setup` installs them")
    if os.geteuid() == 0:
        try:
            pwd.getpwnam(postgres.OWNER)
        except KeyError:
            raise BedError(f"PostgreSQL does not run as root, and there is no user {postgres.OWNER}") from None


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
