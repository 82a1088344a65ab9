"""The ports: bound once by the parent, inherited by the workers of their kind.

SO_REUSEPORT would put four associations on one of two workers, lose queued connections on exit, and hide a port clash.
"""

import socket
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from imagerepo.errors import SettingsError
from imagerepo.processes.spec import Kind
from imagerepo.settings import Settings, split_listen

_BACKLOG: Final = 1024


class Port(StrEnum):
    """What is spoken on a port: the setting that names it."""

    HTTP = "listen"
    HTTPS = "tls.listen"
    DIMSE = "dicom_listen"
    DIMSE_TLS = "tls.dicom_listen"


PORTS_OF: Final = {Kind.HTTP: (Port.HTTP, Port.HTTPS), Kind.DIMSE: (Port.DIMSE, Port.DIMSE_TLS)}
"""The port in the clear, then that of TLS."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Bound sockets."""

    sockets: dict[Port, socket.socket]
    listens: dict[Port, str]  # as in the settings

    @classmethod
    def bind(cls, settings: Settings) -> "Listeners":
        """Bind what is set, without listening. Raises SettingsError."""
        named = {
            Port.HTTP: settings.listen,
            Port.HTTPS: settings.tls.listen,
            Port.DIMSE: settings.dicom_listen,
            Port.DIMSE_TLS: settings.tls.dicom_listen,
        }
        listens = {port: listen for port, listen in named.items() if listen is not None}
        return cls({port: _bind(port, listen) for port, listen in listens.items()}, listens)

    def listen(self) -> None:
        """Let connections come. Raises SettingsError."""
        for port, bound in self.sockets.items():
            try:
                bound.listen(_BACKLOG)
            except OSError as error:
                raise _refused(port, self.listens[port], error) from error

    def descriptors(self, kind: Kind) -> list[int]:
        """Those that a kind of worker inherits: in the clear, then of TLS if there is one."""
        return [self.sockets[port].fileno() for port in PORTS_OF[kind] if port in self.sockets]

    def close(self, kind: Kind) -> None:
        """Refuse at once whoever comes to a kind of worker from now on."""
        for port in PORTS_OF[kind]:
            if port in self.sockets:
                self.sockets[port].close()

    def address(self, port: Port) -> tuple[str, int] | None:
        """Host and port; None: nothing is served there."""
        if port not in self.sockets:
            return None
        host, number = self.sockets[port].getsockname()[:2]
        return host, number


def _bind(port: Port, listen: str) -> socket.socket:
    host, number = split_listen(listen)
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((host, number))
    except OSError as error:
        made.close()
        raise _refused(port, listen, error) from error
    return made


def _refused(port: Port, listen: str, error: OSError) -> SettingsError:
    return SettingsError(f"{port}: cannot listen on {listen}: {error.strerror}")
