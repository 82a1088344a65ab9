"""Replicas of one repository behind the bed's HAProxy, started as people start them, ended as faults end them."""

import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from tests.harness.server import Server
from tests.testbed import plan, replica_settings
from tests.testbed.bed import Bed
from tests.testbed.replica_settings import Shared

DIRECT: Final = "127.0.0.2"
"""From where a client speaks to a replica past HAProxy: who comes from HAProxy's address has to name a client."""
_BACKENDS: Final = ("http", "dimse")
_WITHIN: Final = 60.0  # seconds


@dataclass
class Replicas:
    """`servers` has those that run, by their names in the bed."""

    bed: Bed
    settings: Path
    servers: dict[str, Server] = field(default_factory=dict[str, Server])

    @property
    def http(self) -> int:
        """HAProxy's port."""
        return self.bed.plan.haproxy.http_port

    @property
    def dimse(self) -> int:
        """HAProxy's port."""
        return self.bed.plan.haproxy.dimse_port

    @property
    def names(self) -> list[str]:
        """All that HAProxy looks for."""
        return [one.name for one in self.bed.plan.haproxy.replicas]

    def start(self, *names: str) -> None:
        """Start replicas side by side; returns when HAProxy sends connections to them."""
        with ThreadPoolExecutor() as starting:
            for name, server in zip(names, starting.map(self._started, names), strict=True):
                self.servers[name] = server
        self.await_up(names)

    def await_up(self, names: Iterable[str]) -> None:
        """Wait until HAProxy sends connections to them."""
        self._await(dict.fromkeys(names, "UP"))

    def await_down(self, *names: str) -> None:
        """Wait until HAProxy has noticed."""
        self._await(dict.fromkeys(names, "DOWN"))

    @contextmanager
    def only(self, name: str) -> Iterator[None]:
        """Have HAProxy give new connections to that one alone."""
        others = [one for one in self.names if one != name]
        self._set_states(others, "maint")
        try:
            yield
        finally:
            self._set_states(others, "ready")
            self.await_up(self.servers)

    def ended(self) -> bool:
        """Whether nobody will answer any more."""
        return not self.servers

    def kill(self, name: str) -> None:
        """`kill -9` of all of one's processes at once."""
        with self.servers.pop(name):
            pass  # leaving it kills it

    def stop(self, name: str) -> int:
        """SIGTERM; the exit status."""
        with self.servers.pop(name) as server:
            return server.stop()

    def end(self) -> None:
        """End all."""
        for name in list(self.servers):
            self.kill(name)

    def said(self) -> str:
        """The last of what each said."""
        return "\n".join(f"{name} said:\n{one.said()[-6000:]}" for name, one in self.servers.items())

    def _started(self, name: str) -> Server:
        place = next(one for one in self.bed.plan.haproxy.replicas if one.name == name)
        return Server(
            self.settings.parent / "replicas" / name,
            *("--config", str(self.settings)),
            *("--listen", f"{plan.HOST}:{place.http_port}", "--dicom-listen", f"{plan.HOST}:{place.dimse_port}"),
        )

    def _set_states(self, names: Iterable[str], state: str) -> None:
        for name in names:
            for backend in _BACKENDS:
                self.bed.haproxy.ask(f"set server {backend}/{name} state {state}")

    def _await(self, wanted: dict[str, str]) -> None:
        until = time.monotonic() + _WITHIN
        while not all(wanted.items() <= self.bed.haproxy.replicas(backend).items() for backend in _BACKENDS):
            assert time.monotonic() < until, self.bed.haproxy.ask("show stat") + self.said()
            time.sleep(0.05)


@contextmanager
def replicas(bed: Bed, folder: Path, **settings: object) -> Iterator[Replicas]:
    """None yet, over a database and buckets of their own; `settings` are added to the file's."""
    with bed.postgres.database() as database:
        # Buckets are named after it; the bed ends them with all the rest.
        written = replica_settings.write(folder, bed.plan, Shared(database, database.replace("_", "-")[:18]))
        values = yaml.safe_load(written.read_text(encoding="utf-8"))
        written.write_text(yaml.safe_dump({**values, **settings}, sort_keys=False), encoding="utf-8")
        replica_settings.upgrade_schema(written)
        made = Replicas(bed, written)
        try:
            yield made
        except BaseException as error:
            error.add_note(made.said())
            raise
        finally:
            made.end()
