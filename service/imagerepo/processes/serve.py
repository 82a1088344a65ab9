"""`imagerepo serve`: one process tree on one data folder."""

import logging
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagerepo.adapters.segments import folder as data_folder
from imagerepo.adapters.segments.folder import FolderLock
from imagerepo.errors import SettingsError
from imagerepo.processes import supervise
from imagerepo.processes.journal import Anchorer
from imagerepo.processes.spec import Kind, Spec, names
from imagerepo.processes.supervise import Supervisor
from imagerepo.settings import Settings, split_listen

log = logging.getLogger(__name__)

_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server is reached."""

    http: tuple[str, int]
    dimse: tuple[str, int]


def serve(settings: Settings, config: Path | None, ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called once, when everything answers.

    Raises:
        SettingsError: the folder or a port is taken, or a setting cannot be used; nothing was changed.
    """
    stop: list[int] = []
    supervise.on_signals(stop)
    data = settings.data.absolute()
    with FolderLock(data) as lock:
        listeners = {
            Kind.HTTP: _bind("listen", settings.listen),
            Kind.DIMSE: _bind("dicom_listen", settings.dicom_listen),
        }
        count = settings.workers or supervise.default_workers()
        folder, replayed = data_folder.make_ready(data, [str(name) for name in names(count)])
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
