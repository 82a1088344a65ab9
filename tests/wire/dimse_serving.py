"""A DIMSE server in this process, over the adapters in memory."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from imagerepo.adapters.memory import Memory, MemoryCommits, MemoryObjects
from imagerepo.dimse.server import DimseServer
from imagerepo.flows.repository import Repository
from imagerepo.model.events import Action, JournalRequest
from imagerepo.ports.commits import Commits
from imagerepo.settings import Settings
from tests.harness.in_memory import assemble


@dataclass(frozen=True)
class Served:
    """What a test looks at."""

    port: int
    memory: Memory
    repository: Repository
    server: DimseServer

    def stored(self, instance_uid: str, institution: str = "default") -> bytes:
        """The current version's Part 10 file."""
        version, _ = self.memory.instances[institution, instance_uid].current
        return MemoryObjects(self.memory).read(version.copy.ranges[0])

    @property
    def count(self) -> int:
        return len(self.memory.instances)

    @property
    def refusals(self) -> list[str]:
        """Why something was refused, as the journal has it."""
        return [
            str(dict(entry.detail)["reason"])
            for entry in self.memory.journal
            if isinstance(entry, JournalRequest) and entry.action is Action.REFUSE
        ]


class Places:
    """Places for associations, as the processes will count them together."""

    def __init__(self, number: int) -> None:
        self._semaphore = threading.Semaphore(number)

    def admit(self) -> bool:
        return self._semaphore.acquire(blocking=False)

    def leave(self) -> None:
        self._semaphore.release()


@contextmanager
def serving(settings: Settings | None = None, commits: Commits | None = None) -> Iterator[Served]:
    """Serve until the context is left; then end what is left without grace."""
    settings = settings or Settings()
    memory = Memory()
    commits = commits or MemoryCommits(memory)
    repository = assemble(settings, memory, commits)
    places = Places(settings.dimse.max_associations)
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        server = DimseServer(repository, listening, admit=places.admit, leave=places.leave)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield Served(listening.getsockname()[1], memory, repository, server)
        finally:
            server.drain(0)
            thread.join()
            repository.blocking_audit.close()


def within(seconds: float, condition: Callable[[], bool]) -> None:
    """Wait until something is so, at the most so long."""
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.005)
