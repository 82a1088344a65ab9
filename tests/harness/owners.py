"""Clients that store to studies of their own, delete from them, and know at every moment what has to be there."""

import http.client
import random
import threading
import time
from dataclasses import dataclass, field

from tests.harness.dicom_file import DicomFile, ct, uid
from tests.harness.server import Server
from tests.harness.web_client import FAILURES, WebClient

STUDIES = 700_000  # from here on, one for each owner


@dataclass(frozen=True)
class Holdings:
    """What has to be there, may be there, and must not; data sets by SOP Instance UID."""

    present: dict[str, bytes]
    absent: frozenset[str]
    deletions: frozenset[str]  # reasons of those that were answered
    stored: frozenset[tuple[str, bytes]]  # all that was ever acknowledged


@dataclass
class Owners:
    """Parallel owners; ended by the server's end or by `end`."""

    seed: int
    present: dict[str, bytes] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    deletions: set[str] = field(default_factory=set)
    stored: set[tuple[str, bytes]] = field(default_factory=set)
    answers: int = 0
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, server: Server, count: int) -> None:
        """Begin so many; those of an earlier server go on with what they have."""
        self._threads = [
            threading.Thread(target=self._own, args=(server, number), daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def await_answers(self, count: int, timeout: float = 60) -> None:
        """Wait until so many requests were answered."""
        until = time.monotonic() + timeout
        while self.answers < count:
            assert time.monotonic() < until, f"{self.answers} answers, {count} awaited"
            time.sleep(0.002)

    def join(self) -> None:
        """Wait until all have ended."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def end(self) -> None:
        """Have all end after what they are doing."""
        self._ending.set()
        self.join()

    def snapshot(self) -> Holdings:
        """What is known at this moment; what is being asked for is in neither set."""
        with self._lock:
            return Holdings(
                dict(self.present), frozenset(self.absent), frozenset(self.deletions), frozenset(self.stored)
            )

    def _own(self, server: Server, owner: int) -> None:
        rng = random.Random(self.seed * 1000 + owner + self.answers * 7919)
        while not self._ending.is_set():
            try:
                with WebClient(server.http) as client:
                    for _ in range(20):
                        if rng.random() < 0.7:
                            self._store(client, rng, owner)
                        else:
                            self._delete(server, rng, owner)
            except FAILURES:
                if server.process.poll() is not None:
                    return
                time.sleep(0.01)

    def _store(self, client: WebClient, rng: random.Random, owner: int) -> None:
        files: dict[str, DicomFile] = {}
        for _ in range(rng.randrange(1, 5)):
            file = ct(
                rng.randrange(6),
                study=STUDIES + owner,
                series=rng.randrange(2),
                size=rng.choice((2048, 20_000, 300_000)),
                variant=rng.randrange(3),
            )
            files[file.instance] = file
        with self._lock:
            for name in files:
                self.absent.discard(name)
                self.present.pop(name, None)
        stored = client.stow(*files.values()).stored
        with self._lock:
            self.answers += 1
            for name in stored:
                self.present[name] = files[name].data_set
                self.stored.add((name, files[name].data_set))

    def _delete(self, server: Server, rng: random.Random, owner: int) -> None:
        study, series, number = STUDIES + owner, rng.randrange(2), rng.randrange(6)
        path, prefix = rng.choice((
            (f"/studies/{uid(study)}", uid(study)),
            (f"/studies/{uid(study)}/series/{uid(study, series)}", uid(study, series)),
            (
                f"/studies/{uid(study)}/series/{uid(study, series)}/instances/{uid(study, series, number)}",
                uid(study, series, number),
            ),
        ))  # fmt: skip
        named = {
            uid(study, one, another)
            for one in range(2)
            for another in range(6)
            if f"{uid(study, one, another)}.".startswith(f"{prefix}.")
        }
        with self._lock:
            for name in named:
                self.absent.discard(name)
                self.present.pop(name, None)
            reason = f"{self.seed}.{owner}.{self.answers}.{rng.random()}"
        connection = http.client.HTTPConnection("127.0.0.1", server.http, timeout=60)
        connection.request("DELETE", f"/dicom-web{path}?reason={reason}")
        status = connection.getresponse().status
        connection.close()
        if status not in {204, 404}:
            raise ConnectionError(status)
        with self._lock:
            self.answers += 1
            self.absent |= named
            if status == 204:
                self.deletions.add(reason)


def assert_held(known: Holdings, data_sets: dict[tuple[str, str, int], bytes]) -> None:
    """What has to be there is, what must not be is not."""
    there: dict[str, set[bytes]] = {}
    for (_, instance, _), data_set in data_sets.items():
        there.setdefault(instance, set()).add(data_set)
    for instance, data_set in known.present.items():
        assert data_set in there.get(instance, set()), f"lost: {instance}"
    for instance in known.absent:
        assert instance not in there, f"came back: {instance}"
