"""What every worker does at its start and until its end.

A worker dies with its parent: it reads a pipe whose other end the parent alone holds, and ends at once when that
closes, by whatever signal the parent died. Ctrl-C reaches the whole process group; only the parent answers it.
"""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from imagerepo.errors import SettingsError, UnavailableError
from imagerepo.processes import assembly, logs, metrics
from imagerepo.processes.assembly import Assembled
from imagerepo.processes.sharing import Crowd, Sharing
from imagerepo.processes.spec import Kind, Name, Spec, names
from imagerepo.settings import Settings, load, with_institutions_of

log = logging.getLogger(__name__)

_SWITCH = 0.0005  # seconds a thread may keep the interpreter while others wait
_LOOK = 2.0  # seconds between looks at the settings file


@dataclass(frozen=True, slots=True)
class Child:
    """A worker's start."""

    name: Name
    spec: Spec
    assembled: Assembled
    listener: socket.socket
    sharing: Sharing
    crowd: Crowd


def start(kind: Kind, arguments: list[str]) -> Child:
    """Begin a worker from its command line: ordinal, run folder's spec, and descriptors of listener and parent."""
    ordinal, file, listener, parent = int(arguments[0]), Path(arguments[1]), int(arguments[2]), int(arguments[3])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH)
    threading.Thread(target=die_with, args=(parent,), name="parent", daemon=True).start()
    logs.begin()
    spec = Spec.model_validate_json(file.read_text())
    metrics.back_with_blocks(spec.folder.metrics, spec.settings.tenants[0].id)
    name = Name(kind, ordinal)
    assembled = assembly.embedded(spec.settings, spec.folder, str(name))
    if spec.config is not None:
        watch = (spec.config, spec.settings, assembled)
        threading.Thread(target=_reload, args=watch, name="reload", daemon=True).start()
    threading.Thread(target=_tend, args=(assembled,), name="tend", daemon=True).start()
    everyone = names(spec.workers)
    sharing = Sharing(spec.sharing, len(everyone))
    mine = [place for place, one in enumerate(everyone) if one.kind is kind]
    crowd = Crowd(sharing, everyone.index(name), range(mine[0], mine[-1] + 1))
    return Child(name, spec, assembled, socket.socket(fileno=listener), sharing, crowd)


def on_terminate(then: Callable[[], object]) -> None:
    """Call `then` at SIGTERM."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        then()

    signal.signal(signal.SIGTERM, handle)


def die_with(parent: int) -> None:
    """End at once when the parent does; `parent` is the pipe's descriptor. Never returns."""
    os.read(parent, 1)
    os._exit(1)


def _reload(config: Path, settings: Settings, assembled: Assembled) -> None:
    """Use the file's institutions as soon as it changes; keep the old ones if it cannot be used."""
    seen = _stamp(config)
    while True:
        time.sleep(_LOOK)
        stamp = _stamp(config)
        if stamp == seen:
            continue
        seen = stamp
        try:
            assembled.repository.access.replace(with_institutions_of(settings, load(config, {})).tenants)
        except SettingsError as error:
            log.error("settings.not_reloaded", extra={"reason": str(error)})  # noqa: TRY400 - the reason says all
        else:
            log.info("settings.reloaded")


def _tend(assembled: Assembled) -> None:
    """Finish commits whose rows could not be written, even if nobody sends any more."""
    while True:
        time.sleep(_LOOK)
        try:
            assembled.commits.tend()
        except UnavailableError as error:
            log.warning("commit.rows_wait", extra={"reason": str(error)})


def _stamp(config: Path) -> tuple[int, int] | None:
    try:
        stat = config.stat()
    except OSError:
        return None
    return (stat.st_mtime_ns, stat.st_size)
