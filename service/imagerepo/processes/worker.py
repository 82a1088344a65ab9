"""`imagerepo worker`: one process that keeps a cluster in order; any number of them, on any machine.

What it does is leased, step by step: whenever one is killed, another goes on. It keeps nothing of its own.
"""

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Final

from imagerepo.errors import UnavailableError
from imagerepo.model.scope import Scope
from imagerepo.processes import child, working
from imagerepo.processes.assembly import upkeep
from imagerepo.processes.settings_file import SettingsFile
from imagerepo.processes.worker_port import WorkerPort
from imagerepo.settings import Settings

log = logging.getLogger(__name__)

_ENDING: Final = 8.0  # seconds for the steps that are being done when it ends


def work(
    settings: Settings,
    config: Path | None,
    listen: tuple[str, int] | None,
    ready: Callable[[tuple[str, int] | None], None],
) -> None:
    """Work until SIGTERM or SIGINT.

    Args:
        settings: of the cluster.
        config: the settings file, whose institutions are read again.
        listen: host and port for probes; None: it has no port.
        ready: called once, when it begins to work, with where it listens.

    Raises:
        SettingsError: there is no cluster, or it cannot be used with these settings; nothing was changed.
        UnavailableError: the database or the store does not answer.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _setting(stop))
    opened = upkeep.opened(settings)
    child.tend(opened.tended)
    port = None if listen is None else WorkerPort(listen, opened.check)
    ready(None if port is None else port.address)
    working.work(opened.upkeep, SettingsFile(config, settings), stop)
    try:
        opened.upkeep.close(_ENDING)
    except UnavailableError as error:
        log.warning("worker.leases_left", extra={"reason": str(error)})
    opened.close()


def read_again(settings: Settings, scope: Scope) -> None:
    """Have workers read a study's or a series' attributes from the bytes again.

    Raises:
        SettingsError: there is no cluster, or it cannot be used with these settings.
        NotFoundError: nothing has that name.
        UnavailableError: the database does not answer.
    """
    upkeep.read_again(settings, scope)


def _setting(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    return lambda _number, _frame: stop.set()
