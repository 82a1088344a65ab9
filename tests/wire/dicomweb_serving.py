"""An HTTP server in this process, over the adapters in memory."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
import uvicorn

from imagerepo.adapters.memory import Memory, MemoryCommits
from imagerepo.dicomweb import routes as dicomweb
from imagerepo.flows.repository import Repository
from imagerepo.model.events import Action, JournalRequest
from imagerepo.rest import routes as rest
from imagerepo.settings import Settings
from imagerepo.ui import routes as ui
from imagerepo.web.app import make_app
from imagerepo.web.proxied import protocol_class
from imagerepo.web.state import ServingState
from tests.harness.in_memory import assemble


@dataclass
class Served:
    """What a test talks to and looks at."""

    port: int
    memory: Memory
    repository: Repository
    draining: bool = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def journal(self, action: Action) -> list[JournalRequest]:
        """Entries of one kind."""
        return [one for one in self.memory.journal if isinstance(one, JournalRequest) and one.action is action]

    def client(self, **options) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, **options)


class Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextmanager
def serving(settings: Settings | None = None, commits: type[MemoryCommits] = MemoryCommits) -> Iterator[Served]:
    """Serve until the context is left."""
    settings = settings or Settings()
    memory = Memory()
    repository = assemble(settings, memory, commits(memory))
    served = Served(0, memory, repository)
    state = ServingState(
        draining=lambda: served.draining, check=repository.index.check, render_metrics=lambda: b"imagerepo_up 1\n"
    )
    app = make_app(
        repository, [*dicomweb.routes(repository), *rest.routes(repository, state), *ui.routes(repository)], state
    )
    config = uvicorn.Config(
        app,
        http=protocol_class(settings),
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = Server(config)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        served.port = listening.getsockname()[1]
        thread = threading.Thread(target=asyncio.run, args=(server.serve(sockets=[listening]),), daemon=True)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.005)
            yield served
        finally:
            server.should_exit = True
            thread.join()
            repository.pictures.close()


def multipart(parts: list[bytes], boundary: str = "b0undary", part_type: str = "application/dicom") -> bytes:
    """A STOW-RS body."""
    head = f"--{boundary}\r\nContent-Type: {part_type}\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


def stow(client: httpx.Client, parts: list[bytes], path: str = "/dicom-web/studies") -> httpx.Response:
    """Send instances."""
    return client.post(
        path,
        content=multipart(parts),
        headers={"Content-Type": 'multipart/related; type="application/dicom"; boundary=b0undary'},
    )
