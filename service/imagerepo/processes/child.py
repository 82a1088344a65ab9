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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from imagerepo.errors import UnavailableError
from imagerepo.processes import assembly, logs, metrics, reloading
from imagerepo.processes.assembly import Assembled
from imagerepo.processes.assembly.parts import Tended
from imagerepo.processes.sharing import Crowd, Sharing
from imagerepo.processes.spec import Kind, Name, Spec, names
from imagerepo.tls.keyring import Keyring

log = logging.getLogger(__name__)

_SWITCH = 0.0005  # seconds a thread may keep the interpreter while others wait
_LOOK = 1.0  # seconds between looks for what is left to do, such as commits to finish


@dataclass(frozen=True, slots=True)
class Secure:
    """A port of TLS."""

    listener: socket.socket
    keyring: Keyring


@dataclass(frozen=True, slots=True)
class Child:
    """A worker's start."""

    name: Name
    spec: Spec
    assembled: Assembled
    listener: socket.socket
    secure: Secure | None
    sharing: Sharing
    crowd: Crowd

    def close_listeners(self) -> None:
        """Accept nothing more."""
        self.listener.close()
        if self.secure is not None:
            self.secure.listener.close()


def start(kind: Kind, arguments: list[str]) -> Child:
    """Begin a worker from its command line.

    Args:
        kind: what it serves.
        arguments: ordinal, the run folder's spec, the descriptors of the parent's pipe, of the listener in the clear
            and, if there is one, of that of TLS.
    """
    ordinal, file, parent, listener = int(arguments[0]), Path(arguments[1]), int(arguments[2]), int(arguments[3])
    secure = [int(descriptor) for descriptor in arguments[4:]]
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(_SWITCH)
    threading.Thread(target=die_with, args=(parent,), name="parent", daemon=True).start()
    logs.begin()
    spec = Spec.model_validate_json(file.read_text())
    shape = spec.shape
    metrics.back_with_blocks(shape.metrics, spec.settings.tenants[0].id)
    name = Name(kind, ordinal)
    assembled = assembly.assembled(spec.settings, shape.parts(str(name)))
    keys = reloading.keyring(spec.settings) if secure else None
    reloading.begin(spec, assembled, keys)
    tend(assembled.parts.tended)
    everyone = names(spec.workers)
    sharing = Sharing(spec.sharing, len(everyone))
    mine = [place for place, one in enumerate(everyone) if one.kind is kind]
    crowd = Crowd(sharing, everyone.index(name), range(mine[0], mine[-1] + 1))
    plain, *of_tls = (socket.socket(fileno=descriptor) for descriptor in (listener, *secure))
    beside = Secure(of_tls[0], keys) if keys is not None else None
    return Child(name, spec, assembled, plain, beside, sharing, crowd)


def on_terminate(then: Callable[[], object]) -> None:
    """Call `then` at SIGTERM."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        then()

    signal.signal(signal.SIGTERM, handle)


def die_with(parent: int) -> None:
    """End at once when the parent does; `parent` is the pipe's descriptor. Never returns."""
    os.read(parent, 1)
    os._exit(1)


def tend(tended: Sequence[Tended]) -> None:
    """Begin doing now and then what is left to do, such as rows of a commit, even if nobody sends any more."""
    for one in tended:
        threading.Thread(target=_keep_tending, args=(one,), name="tend", daemon=True).start()


def _keep_tending(tended: Tended) -> None:
    said = ""
    while True:
        try:
            tended.tend()
            said = ""
        except UnavailableError as error:
            if str(error) != said:  # as long as it is the same, once
                log.warning("tend.waits", extra={"what": type(tended).__name__, "reason": str(error)})
            said = str(error)
        time.sleep(_LOOK)
