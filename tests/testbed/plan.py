"""What the bed is made of: addresses and credentials, chosen once, kept in `state.json`.

Ports lie in one block below those that the system gives to outgoing connections, so that none is taken while its
daemon is down.
"""

import dataclasses
import json
import random
import secrets
import socket
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from tests.testbed.daemon import BedError

HOST: Final = "127.0.0.1"
DATA_CENTERS: Final = ("dc-a", "dc-b", "dc-c")
DEVICE_CLASSES: Final = ("ssd", "hdd")  # a host each in every data center

_REPLICAS: Final = 4
_DAEMON_PORTS: Final = 6  # mon, two gateways, PostgreSQL, HAProxy's two
_OSD_PORTS: Final = 96  # 6 OSDs take 8 each and the mgr 2; one that is marked down by mistake takes others
_FIRST_PORT: Final = 16_000
_TRIES: Final = 200


@dataclass(frozen=True, slots=True)
class Osd:
    """One object storage daemon, and where CRUSH has it."""

    number: int
    data_center: str
    host: str
    device_class: str

    @property
    def name(self) -> str:
        """As Ceph has it."""
        return f"osd.{self.number}"


OSDS: Final = tuple(
    Osd(number, dc, f"{dc}-{device_class}", device_class)
    for number, (dc, device_class) in enumerate((dc, one) for dc in DATA_CENTERS for one in DEVICE_CLASSES)
)


@dataclass(frozen=True, slots=True)
class Ceph:
    """The cluster, as its daemons have it."""

    fsid: str
    mon_port: int
    first_osd_port: int
    last_osd_port: int


@dataclass(frozen=True, slots=True)
class S3:
    """RGW: where it is, and a user who may make buckets."""

    port: int
    lifecycle_port: int  # of the gateway that alone runs lifecycle rules
    user: str
    access_key: str
    secret_key: str

    @property
    def endpoint(self) -> str:
        """For clients."""
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A database and its owner; the superuser `postgres` needs no password at the socket."""

    port: int
    database: str
    role: str
    password: str
    superuser_password: str

    @property
    def url(self) -> str:
        """For clients."""
        return f"postgresql://{self.role}:{self.password}@{HOST}:{self.port}/{self.database}"


@dataclass(frozen=True, slots=True)
class Replica:
    """Ports at which HAProxy looks for a replica; whether one is there is another matter."""

    name: str
    http_port: int
    dimse_port: int


@dataclass(frozen=True, slots=True)
class Balancer:
    """HAProxy: the two ports of clients, and where it passes them on."""

    http_port: int
    dimse_port: int
    replicas: tuple[Replica, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is chosen, and stays."""

    ceph: Ceph
    s3: S3
    postgres: Postgres
    haproxy: Balancer


def make() -> Plan:
    """Choose free ports, and credentials that nobody knows."""
    needed = _DAEMON_PORTS + 2 * _REPLICAS + _OSD_PORTS
    ports = iter(range(first := _free_block(needed), first + needed))
    return Plan(
        ceph=Ceph(str(uuid.uuid4()), next(ports), first + needed - _OSD_PORTS, first + needed - 1),
        s3=S3(next(ports), next(ports), "imagerepo", secrets.token_hex(10).upper(), secrets.token_hex(20)),
        postgres=Postgres(next(ports), "imagerepo", "imagerepo", secrets.token_hex(16), secrets.token_hex(16)),
        haproxy=Balancer(
            next(ports),
            next(ports),
            tuple(Replica(f"replica-{one + 1}", next(ports), next(ports)) for one in range(_REPLICAS)),
        ),
    )


def is_free(port: int) -> bool:
    """Whether a daemon could listen there."""
    try:
        with socket.create_server((HOST, port)):
            return True
    except OSError:
        return False


def load(path: Path) -> Plan | None:
    """What was chosen before; None: nothing was. Raises BedError: the file is not ours, or damaged."""
    try:
        return TypeAdapter(Plan).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        reason = error.strerror if isinstance(error, OSError) else f"{error.error_count()} fields are wrong"
        raise BedError(f"{path} can't be used ({reason}): take the bed down, then bring it up anew") from error


def save(path: Path, plan: Plan, folder: Path, pids: dict[str, int]) -> None:
    """Write `state.json` in one step: what was chosen, what follows from it, and who runs."""
    state = dataclasses.asdict(plan)
    state["s3"]["endpoint"] = plan.s3.endpoint
    state["s3"]["lifecycle_endpoint"] = f"http://{HOST}:{plan.s3.lifecycle_port}"
    state["postgres"]["url"] = plan.postgres.url
    state["postgres"]["socket_folder"] = str(folder / "postgres")
    state["haproxy"]["http"] = f"http://{HOST}:{plan.haproxy.http_port}"
    state["haproxy"]["dimse"] = f"{HOST}:{plan.haproxy.dimse_port}"
    state["haproxy"]["stats_socket"] = str(folder / "haproxy" / "stats")
    state["ceph"]["conf"] = str(folder / "ceph.conf")
    written = path.with_suffix(".new")
    written.touch(mode=0o600)  # it has secrets
    written.write_text(json.dumps({**state, "pids": pids}, indent=2) + "\n", encoding="utf-8")
    written.replace(path)


def _free_block(size: int) -> int:
    """The first of `size` free ports in a row."""
    outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    last = max(outgoing, _FIRST_PORT + 2 * size) - size
    for _ in range(_TRIES):
        first = random.randrange(_FIRST_PORT, last)
        if all(is_free(port) for port in range(first, first + size)):
            return first
    raise BedError(f"no {size} free ports in a row between {_FIRST_PORT} and {last + size} on {HOST}")
