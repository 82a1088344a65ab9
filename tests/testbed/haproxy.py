"""HAProxy of the distribution: passes HTTP and DIMSE on to replicas, and says whom each connection is from."""

import csv
import logging
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.testbed.daemon import Daemon
from tests.testbed.plan import HOST, Plan, Replica

PROGRAM: Final = "haproxy"

_READY_WITHIN: Final = 30.0  # seconds
_SOCKET_WITHIN: Final = 5.0

_TEXT: Final = """\
global
    maxconn 2000
    no strict-limits
    stats socket {socket} mode 600 level admin

defaults
    mode tcp
    timeout connect 2s
    timeout check 500ms
    # Associations and streams may be silent for long; replicas have limits of their own.
    timeout client 10m
    timeout server 10m
    option redispatch 1
    retries 3
    # PROXY protocol version 2 names the client; what checks send names nobody, and replicas demand it all the same.
    # Who says 404 is on its way out, or cannot read for now, and keeps the connections it has. Who does not answer at
    # all loses them: after four seconds if it refuses, as one does that ends its last requests, after eight if it is
    # silent.
    default-server check inter 500ms fall 8 rise 1 send-proxy-v2 check-send-proxy on-marked-down shutdown-sessions
    http-check disable-on-404

# Bytes are passed on as they are, requests and messages are the replicas' business. DIMSE has no question for health:
# /readyz of the same replica answers for both.
frontend http
    bind {host}:{http_port}
    default_backend http

frontend dimse
    bind {host}:{dimse_port}
    default_backend dimse

backend http
    balance leastconn
    option httpchk GET /readyz?unready=404
{http_servers}
backend dimse
    balance leastconn
    option httpchk GET /readyz?unready=404
{dimse_servers}"""

_log = logging.getLogger("testbed")


@dataclass(frozen=True, slots=True)
class Proxy:
    """One balancer, in the folder `haproxy` of a bed."""

    folder: Path  # the bed's
    plan: Plan

    @property
    def daemon(self) -> Daemon:
        """One process, in the foreground."""
        return Daemon("haproxy", (PROGRAM, "-db", "-f", str(self._configuration)), self.folder)

    def up(self) -> None:
        """Write what it is to do, start it; returns when it answers its socket."""
        self._configuration.parent.mkdir(exist_ok=True)
        self._configuration.write_text(self._text(), encoding="utf-8")
        self.start()
        _log.info("haproxy: HTTP at %s:%d, DIMSE at %s:%d", HOST, self._ports[0], HOST, self._ports[1])

    def start(self) -> None:
        """Start it; returns when it answers."""
        self.daemon.start()
        self.daemon.wait("HAProxy to answer its socket", self.answers, _READY_WITHIN)

    def answers(self) -> bool:
        """Whether its socket answers."""
        try:
            return "Uptime" in self.ask("show info")
        except OSError:
            return False

    def replicas(self, backend: str) -> dict[str, str]:
        """State by replica, of the backend `http` or `dimse`: UP, DOWN, or on the way."""
        said = self.ask("show stat").removeprefix("# ").splitlines()
        rows = csv.DictReader(line for line in said if line)
        return {
            row["svname"]: row["status"].split()[0]
            for row in rows
            if row["pxname"] == backend and row["svname"] not in {"FRONTEND", "BACKEND"}
        }

    def ask(self, command: str) -> str:
        """An answer of its socket. Raises OSError: there is none."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SOCKET_WITHIN)
            connection.connect(str(self.folder / "haproxy" / "stats"))
            connection.sendall(command.encode() + b"\n")
            with connection.makefile(encoding="utf-8") as answer:
                return answer.read()

    @property
    def _configuration(self) -> Path:
        return self.folder / "haproxy" / "haproxy.cfg"

    @property
    def _ports(self) -> tuple[int, int]:
        return self.plan.haproxy.http_port, self.plan.haproxy.dimse_port

    def _text(self) -> str:
        replicas = self.plan.haproxy.replicas
        http_port, dimse_port = self._ports
        return _TEXT.format(
            socket=self.folder / "haproxy" / "stats",
            host=HOST,
            http_port=http_port,
            dimse_port=dimse_port,
            http_servers="".join(_server(one, one.http_port, "") for one in replicas),
            dimse_servers="".join(_server(one, one.dimse_port, f" port {one.http_port}") for one in replicas),
        )


def _server(replica: Replica, port: int, check: str) -> str:
    return f"    server {replica.name} {HOST}:{port}{check}\n"
