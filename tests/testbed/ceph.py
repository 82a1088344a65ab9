"""Ceph on loopback: a mon, a mgr, six OSDs in three data centers, two gateways.

Each part is made, then marked as made: what an interrupted start left half made is removed and made again.
"""

import json
import logging
import shutil
import socket
import struct
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.testbed import ceph_conf, plan, s3
from tests.testbed.daemon import BedError, Daemon, environment
from tests.testbed.plan import OSDS, Osd, Plan

GATEWAYS: Final = ("rgw.main", "rgw.lc")
ALLOWED_WARNINGS: Final = {
    "MON_DISK_LOW": "the disk is the machine's",
}
"""Health checks that do not keep the bed from being healthy, and why."""

_COMMAND_WITHIN: Final = 60.0  # seconds
_READY_WITHIN: Final = 60.0
_SOCKET_WITHIN: Final = 5.0
_HEALTHY_WITHIN: Final = 180.0  # after a data center's loss too
_QUIET: Final = 4.0  # longer than figures take from an OSD to the mon
_MADE: Final = "made"

_log = logging.getLogger("testbed")


@dataclass(frozen=True, slots=True)
class Ceph:
    """One cluster, in the folders `ceph` and `log` of a bed."""

    folder: Path  # the bed's
    plan: Plan

    @property
    def conf(self) -> Path:
        """Where clients find it, and the admin's key."""
        return self.folder / "ceph.conf"

    def daemons(self) -> list[Daemon]:
        """In the order in which they start."""
        return [self.daemon(name) for name in ("mon.a", "mgr.x", *(osd.name for osd in OSDS), *GATEWAYS)]

    def daemon(self, name: str) -> Daemon:
        """By its name."""
        kind, _, ident = name.partition(".")
        program = {
            "mon": ("ceph-mon", "-i", ident),
            "mgr": ("ceph-mgr", "-i", ident),
            "osd": ("ceph-osd", "-i", ident),
            "rgw": ("radosgw", "-n", f"client.{name}"),
        }[kind]
        # An OSD keeps its objects in memory, and writes them to disk at a clean end alone.
        return Daemon(name, (*program, "--conf", str(self.conf), "-f"), self.folder, expendable=kind != "osd")

    def up(self) -> None:
        """Make what is missing, start what does not run; returns when it is healthy."""
        self._refuse_if_nothing_is_left()
        for folder in ("run", "crash"):
            (self._at / folder).mkdir(parents=True, exist_ok=True)
        self.conf.write_text(ceph_conf.text(self.folder, self.plan), encoding="utf-8")
        self._make_mon()
        self.start("mon.a")
        self._make_mgr()
        self.daemon("mgr.x").start()
        self._make_osds()
        for osd in OSDS:
            self.daemon(osd.name).start()
        for name in ("mgr.x", *(osd.name for osd in OSDS)):
            self._await_ready(name)
        _log.info("ceph: mon, mgr and %d OSDs are up", len(OSDS))
        self._make_gateways()
        for name in GATEWAYS:
            self.daemon(name).start()
        for name in GATEWAYS:
            self._await_ready(name)
        self._make_user()
        self.await_healthy()
        _log.info("ceph: healthy; S3 stores, reads and deletes at %s", self.plan.s3.endpoint)

    def start(self, name: str) -> None:
        """Start one daemon; returns when it does its work."""
        self.daemon(name).start()
        self._await_ready(name)

    def await_healthy(self) -> None:
        """Return when S3 stores, reads and deletes, and all OSDs are up and all placement groups clean for a while.

        The mgr has its figures from the OSDs, the mon from the mgr: for seconds after a change all looks as before.
        """
        # First the object: RGW makes a pool when it needs one.
        self.daemon("rgw.main").wait("an object through S3", lambda: s3.works(self.plan.s3), _READY_WITHIN)
        complaint, since = "", time.monotonic()

        def healthy() -> bool:
            nonlocal complaint, since
            complaint = self.complaint()
            if complaint:
                since = time.monotonic()
            return time.monotonic() - since > _QUIET

        try:
            self.daemon("mon.a").wait("Ceph's health", healthy, _HEALTHY_WITHIN)
        except BedError as error:
            raise BedError(f"{error}; Ceph says: {complaint}") from error

    def complaint(self) -> str:
        """Why it is not healthy; empty: it is."""
        try:
            status, pools = self.ask("status"), self.ask("osd", "pool", "ls", "detail")
        except BedError as error:
            return str(error)
        checks = status["health"]["checks"]
        wrong = [f"{name}: {checks[name]['summary']['message']}" for name in checks if name not in ALLOWED_WARNINGS]
        up = status["osdmap"]["num_up_osds"]
        if up < len(OSDS):
            wrong.append(f"{up} of {len(OSDS)} OSDs are up")
        groups = {one["state_name"]: one["count"] for one in status["pgmap"].get("pgs_by_state", [])}
        wrong += [f"{groups[state]} PGs are {state}" for state in groups if not state.startswith("active+clean")]
        # The mgr counts those that it has heard of.
        unheard = sum(pool["pg_num"] for pool in pools) - sum(groups.values())
        wrong += [f"{unheard} PGs are new"] if unheard else []
        return "; ".join(wrong)

    def ask(self, *command: str) -> Any:
        """What `ceph` answers, from JSON. Raises BedError."""
        return json.loads(self.run("ceph", "--connect-timeout", "20", *command, "--format", "json"))

    def run(self, *command: str, given: str | None = None) -> str:
        """What one of Ceph's tools prints. Raises BedError: it failed."""
        try:
            done = subprocess.run(
                command,
                input=given,
                stdin=subprocess.DEVNULL if given is None else None,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_COMMAND_WITHIN,
                env={**environment(), "CEPH_CONF": str(self.conf)},
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise BedError(f"`{' '.join(command)}` had no answer within {_COMMAND_WITHIN:.0f} s") from error
        if done.returncode:
            said = [line for line in done.stderr.splitlines() if line.strip()]
            raise BedError(f"`{' '.join(command)}` failed: {said[-1] if said else f'status {done.returncode}'}")
        return done.stdout

    @property
    def _at(self) -> Path:
        return self.folder / "ceph"

    def _refuse_if_nothing_is_left(self) -> None:
        """Objects with a copy in every data center are gone when an OSD of each was killed."""
        lost = {osd.data_center for osd in OSDS if self.daemon(osd.name).ended_unasked()}
        if lost == set(plan.DATA_CENTERS):
            raise BedError(
                "OSDs of all three data centers were killed, and with them their objects, which were in memory: "
                "take the bed down, then bring it up anew"
            )

    def _await_ready(self, name: str) -> None:
        kind, _, _ = name.partition(".")
        ready = {
            "mon": lambda: self._state(name, "mon_status") == "leader",
            "mgr": self._has_mgr,
            "osd": lambda: self._state(name, "status") == "active",
            "rgw": lambda: s3.answers(self._gateway_port(name)),
        }[kind]
        self.daemon(name).wait(f"{name} to be ready", ready, _READY_WITHIN)

    def _gateway_port(self, name: str) -> int:
        return self.plan.s3.port if name == "rgw.main" else self.plan.s3.lifecycle_port

    def _has_mgr(self) -> bool:
        try:
            return bool(self.ask("mgr", "stat")["available"])
        except BedError:
            return False

    def _state(self, name: str, command: str) -> str:
        """What a daemon says of itself. The mon's word on an OSD that was killed may be an old one."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_SOCKET_WITHIN)
                connection.connect(str(self._at / "run" / f"ceph-{name}.asok"))
                connection.sendall(json.dumps({"prefix": command}).encode() + b"\0")
                with connection.makefile("rb") as answer:
                    (length,) = struct.unpack(">I", answer.read(4))
                    return str(json.loads(answer.read(length))["state"])
        except (OSError, ValueError, KeyError, struct.error):
            return "away"

    def _make_mon(self) -> None:
        at = self._at / "mon.a"
        if (at / _MADE).exists():
            return
        shutil.rmtree(at, ignore_errors=True)
        admin, first, monmap = self._at / "client.admin.keyring", self._at / "mon.keyring", self._at / "monmap"
        keyring = ("ceph-authtool", "--create-keyring", "--gen-key")
        self.run(*keyring, str(first), "-n", "mon.", "--cap", "mon", "allow *")
        everything = [word for part in ("mon", "mgr", "osd") for word in ("--cap", part, "allow *")]
        self.run(*keyring, str(admin), "-n", "client.admin", *everything)
        self.run("ceph-authtool", str(first), "--import-keyring", str(admin))
        address = f"[v2:{plan.HOST}:{self.plan.ceph.mon_port}]"
        self.run(
            *("monmaptool", "--create", "--clobber", "--fsid", self.plan.ceph.fsid),
            *("--addv", "a", address, str(monmap)),
        )
        self.run(
            *("ceph-mon", "--conf", str(self.conf), "--mkfs", "-i", "a"),
            *("--monmap", str(monmap), "--keyring", str(first)),
        )
        (at / _MADE).touch()

    def _make_mgr(self) -> None:
        at = self._at / "mgr.x"
        if (at / _MADE).exists():
            return
        at.mkdir(exist_ok=True)
        self._write_key(at / "keyring", "mgr.x", mon="allow profile mgr", osd="allow *", mds="allow *")
        (at / _MADE).touch()

    def _make_osds(self) -> None:
        missing = [osd for osd in OSDS if not (self._at / osd.name / _MADE).exists()]
        for osd in missing:
            self._make_osd(osd)
        for device_class in plan.DEVICE_CLASSES:
            of_class = [osd for osd in missing if osd.device_class == device_class]
            if of_class:
                # One that was made by half may have its class already, and a class is not changed, but set.
                self.run("ceph", "osd", "crush", "rm-device-class", *(osd.name for osd in of_class))
                self.run("ceph", "osd", "crush", "set-device-class", device_class, *(osd.name for osd in of_class))
        for osd in missing:
            (self._at / osd.name / _MADE).touch()

    def _make_osd(self, osd: Osd) -> None:
        at, number, ident = self._at / osd.name, str(osd.number), str(uuid.uuid4())
        if at.exists():
            shutil.rmtree(at)
            self.run("ceph", "osd", "purge", number, "--force")
        at.mkdir()
        secret = self.run("ceph-authtool", "--gen-print-key").strip()
        self.run("ceph", "osd", "new", ident, number, "-i", "-", given=json.dumps({"cephx_secret": secret}))
        (at / "keyring").write_text(f"[{osd.name}]\n\tkey = {secret}\n", encoding="ascii")
        self.run("ceph-osd", "--conf", str(self.conf), "-i", number, "--mkfs", "--osd-uuid", ident)
        place = ("root=default", f"datacenter={osd.data_center}", f"host={osd.host}")
        self.run("ceph", "osd", "crush", "add", osd.name, "1.0", *place)

    def _make_gateways(self) -> None:
        at = self._at / "rgw"
        if (at / _MADE).exists():
            return
        at.mkdir(exist_ok=True)
        for name in GATEWAYS:
            self._write_key(at / f"{name}.keyring", f"client.{name}", mon="allow rw", osd="allow rwx", mgr="allow rw")
        (at / _MADE).touch()

    def _make_user(self) -> None:
        at = self._at / "rgw" / "user"
        if at.exists():
            return
        access = self.plan.s3
        try:
            self.run("radosgw-admin", "user", "info", "--uid", access.user)
        except BedError:
            self.run(
                *("radosgw-admin", "user", "create", "--uid", access.user, "--display-name", access.user),
                *("--access-key", access.access_key, "--secret-key", access.secret_key),
            )
        at.touch()

    def _write_key(self, path: Path, entity: str, **capabilities: str) -> None:
        words = [word for part in capabilities.items() for word in part]
        path.write_text(self.run("ceph", "auth", "get-or-create", entity, *words), encoding="ascii")
