"""`imagerepo serve`: one process tree on one data folder."""

import logging
import resource
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagerepo.errors import SettingsError
from imagerepo.processes import assembly, supervise
from imagerepo.processes.assembly import FolderLock
from imagerepo.processes.journal import Anchorer
from imagerepo.processes.spec import Kind, Spec, names
from imagerepo.processes.supervise import Supervisor
from imagerepo.settings import Settings, split_listen

log = logging.getLogger(__name__)

_BACKLOG = 1024
_DESCRIPTORS = 1024  # of a worker besides its connections: stored files, the index, connections being refused


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server listens: hosts and ports; a host that means all addresses is :: or 0.0.0.0."""

    http: tuple[str, int]
    dimse: tuple[str, int]


def serve(settings: Settings, config: Path | None, ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called once, when everything answers.

    Raises:
        SettingsError: the folder or a port is taken, or a setting cannot be used; nothing was changed.
    """
    stop: list[int] = []
    supervise.on_signals(stop)
    _allow_descriptors(settings)
    data = settings.data.absolute()
    with FolderLock(data) as lock:
        listeners = {
            Kind.HTTP: _bind("listen", settings.listen),
            Kind.DIMSE: _bind("dicom_listen", settings.dicom_listen),
        }
        count = settings.workers or supervise.default_workers()
        folder, replayed = assembly.make_ready(data, [str(name) for name in names(count)])
        if replayed.commits:
            log.warning("index.replayed", extra={"commits": replayed.commits, "instances": replayed.instances})
        spec = Spec(settings=settings, config=config, data=data, start=folder.start, workers=count)
        supervisor = Supervisor(spec, listeners, lock.descriptor)
        anchorer = Anchorer(settings, data)
        try:
            _listen(settings, listeners)
            supervisor.start()
            if not stop:
                http, dimse = (_address(listeners[kind]) for kind in (Kind.HTTP, Kind.DIMSE))
                ready(Addresses(http, dimse))
            while not stop:
                supervisor.tick()
                anchorer.tick()
        except BaseException:
            supervisor.kill()
            raise
        supervisor.drain()
        anchorer.tick(now=True)


def _allow_descriptors(settings: Settings) -> None:
    """Have workers open as many files as their connections need: shells and systemd begin at 1024."""
    needed = max(settings.http.max_connections, settings.dimse.max_associations) + _DESCRIPTORS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    most = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if most < needed:
        log.warning(
            "serve.few_descriptors",
            extra={"allowed": most, "needed": needed, "setting": "http.max_connections or dimse.max_associations"},
        )


def _bind(setting: str, listen: str) -> socket.socket:
    try:
        return supervise.bind(split_listen(listen))
    except OSError as error:
        raise SettingsError(f"{setting}: cannot listen on {listen}: {error.strerror}") from error


def _listen(settings: Settings, listeners: dict[Kind, socket.socket]) -> None:
    named = {Kind.HTTP: ("listen", settings.listen), Kind.DIMSE: ("dicom_listen", settings.dicom_listen)}
    for kind, (setting, listen) in named.items():
        try:
            listeners[kind].listen(_BACKLOG)
        except OSError as error:
            raise SettingsError(f"{setting}: cannot listen on {listen}: {error.strerror}") from error


def _address(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    return host, port
