"""One DIMSE process: threads over associations."""

import sys
import threading

from imagerepo.dimse.opening import SecureListener
from imagerepo.dimse.server import DimseServer
from imagerepo.processes import child
from imagerepo.processes.child import Child
from imagerepo.processes.spec import Kind

_MARGIN = 1.0  # seconds of the grace kept for the end itself


def _serve(me: Child) -> None:
    settings = me.spec.settings
    stop = threading.Event()
    child.on_terminate(stop.set)
    places = _Places(me, settings.dimse.max_associations)
    secure = None if me.secure is None else SecureListener(me.secure.listener, me.secure.keyring)
    repository = me.assembled.repository
    server = DimseServer(repository, me.listener, secure=secure, admit=places.take, leave=places.give_back)
    threading.Thread(target=server.serve_forever, name="accept", daemon=True).start()
    print("ready", flush=True)  # noqa: T201 - the parent reads it
    stop.wait()
    server.drain(max(0.0, settings.drain_grace - _MARGIN))


class _Places:
    """Associations that all DIMSE processes together may have."""

    def __init__(self, me: Child, most: int) -> None:
        self._crowd = me.crowd
        self._most = most
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            self._crowd.enter()
            # Two processes that count themselves at the same moment may both give way; never both stay.
            if self._crowd.total() > self._most:
                self._crowd.leave()
                return False
            return True

    def give_back(self) -> None:
        with self._lock:
            self._crowd.leave()


def main() -> None:
    """Serve until SIGTERM."""
    me = child.start(Kind.DIMSE, sys.argv[1:])
    _serve(me)
    me.assembled.close()


if __name__ == "__main__":
    main()
