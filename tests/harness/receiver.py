"""Destinations of forwarding: one that takes what comes and remembers it, one that is silent."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from pynetdicom import AE, AllStoragePresentationContexts, evt

SUCCESS = 0x0000


@dataclass
class Receiver:
    """What a destination was sent; answers each instance as `status_of` says."""

    status_of: Callable[[str], int] = lambda _: SUCCESS
    pause: float = 0.0  # seconds for each instance
    received: list[str] = field(default_factory=list)  # SOP Instance UIDs in order
    data_sets: dict[str, bytes] = field(default_factory=dict)
    associations: set[int] = field(default_factory=set)

    def store(self, event: evt.Event) -> int:
        time.sleep(self.pause)
        instance = str(event.request.AffectedSOPInstanceUID)
        self.associations.add(id(event.assoc))
        self.received.append(instance)
        self.data_sets[instance] = event.request.DataSet.getvalue()
        return self.status_of(instance)


@contextmanager
def receiving(receiver: Receiver, port: int, ae_title: str = "ARCHIVE") -> Iterator[None]:
    """Serve until the context is left."""
    ae = AE(ae_title)
    ae.supported_contexts = AllStoragePresentationContexts
    ae.maximum_pdu_size = 0
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, receiver.store)])  # pyright: ignore[reportArgumentType] - pynetdicom's types
    assert server is not None
    try:
        yield
    finally:
        server.shutdown()


@contextmanager
def silent() -> Iterator[int]:
    """Take connections and say nothing; the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    taken.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for one in taken:
                one.close()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def await_(what: Callable[[], object], seconds: float = 30) -> None:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)
