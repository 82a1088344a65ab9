"""`imagerepo serve`: one process tree on one data folder, which is all there is, or scratch of a replica."""

import logging
import resource
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imagerepo.processes import assembly, supervise
from imagerepo.processes.assembly.embedded import FolderLock
from imagerepo.processes.journal import Anchorer
from imagerepo.processes.listeners import Listeners, Port
from imagerepo.processes.spec import Spec, writers
from imagerepo.processes.supervise import Supervisor
from imagerepo.settings import Settings
from imagerepo.tls import server
from imagerepo.tls.material import check_period

log = logging.getLogger(__name__)

_DESCRIPTORS = 1024  # of a worker besides its connections: stored files, the index, connections being refused


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the server listens: hosts and ports; a host that means all addresses is :: or 0.0.0.0."""

    http: tuple[str, int]
    dimse: tuple[str, int]
    https: tuple[str, int] | None = None
    dimse_tls: tuple[str, int] | None = None


def serve(settings: Settings, config: Path | None, ready: Callable[[Addresses], None]) -> None:
    """Serve until SIGTERM or SIGINT; `ready` is called once, when everything answers.

    Raises:
        SettingsError: the folder or a port is taken, or a setting cannot be used; nothing was changed.
    """
    stop: list[int] = []
    supervise.on_signals(stop)
    _allow_descriptors(settings)
    _check_certificates(settings)
    data = settings.data.absolute()
    with FolderLock(data) as lock:
        listeners = Listeners.bind(settings)
        count = settings.workers or supervise.default_workers()
        shape = assembly.make_ready(settings, data, writers(count))
        spec = Spec(settings=settings, config=config, data=data, start=shape.start, workers=count)
        supervisor = Supervisor(spec, shape, listeners, lock.descriptor)
        anchorer = Anchorer(settings, data)
        try:
            listeners.listen()
            supervisor.start()
            if not stop:
                ready(_addresses(listeners))
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


def _addresses(listeners: Listeners) -> Addresses:
    http, dimse = listeners.address(Port.HTTP), listeners.address(Port.DIMSE)
    assert http is not None
    assert dimse is not None
    return Addresses(http, dimse, listeners.address(Port.HTTPS), listeners.address(Port.DIMSE_TLS))


def _check_certificates(settings: Settings) -> None:
    """Refuse certificates that workers could not serve with. Raises SettingsError."""
    if settings.tls.key is None:
        return
    authorities = [one.client_ca for one in settings.tenants if one.client_ca is not None]
    check_period(server.build(settings.tls, authorities).pair, "tls")
    if settings.tls.key.stat().st_mode & stat.S_IROTH:
        log.warning("tls.key_readable_by_all", extra={"file": str(settings.tls.key), "do": "chmod o-r"})
