"""Clients that send until they are told to end or cannot go on, and remember what was acknowledged."""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from tests.harness.dicom_file import DicomFile, ct, uid
from tests.harness.dimse_client import SUCCESS, DimseClient, EndedError
from tests.harness.outages import Outages
from tests.harness.web_client import FAILURES, WebClient


class Target(Protocol):
    """A server, or several behind one door."""

    @property
    def http(self) -> int:
        """Port."""
        ...

    @property
    def dimse(self) -> int:
        """Port."""
        ...

    def ended(self) -> bool:
        """Whether nobody will answer any more."""
        ...


@dataclass
class Load:
    """Parallel senders. All that is in `acknowledged` must survive."""

    seed: int
    sizes: tuple[int, ...] = (2048, 40_000, 600_000)
    pause: float = 0.0  # seconds from an answer to a sender's next request
    acknowledged: list[DicomFile] = field(default_factory=list)
    sent: dict[str, set[bytes]] = field(default_factory=dict)  # data sets by SOP Instance UID, acknowledged or not
    outages: Outages = field(default_factory=Outages)
    _answered_at: list[float] = field(default_factory=list)  # monotonic seconds
    _ending: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, server: Target, *, dimse: int, stow: int) -> None:
        """Begin so many senders of each kind."""
        jobs: list[Callable[[Target, int], None]] = [self._by_dimse] * dimse + [self._by_stow] * stow
        self._threads = [
            threading.Thread(target=job, args=(server, self.seed * 100 + number), daemon=True)
            for number, job in enumerate(jobs)
        ]
        for thread in self._threads:
            thread.start()

    def await_acknowledged(self, count: int, timeout: float = 30) -> None:
        """Wait until so many were."""
        until = time.monotonic() + timeout
        while len(self.acknowledged) < count:
            assert time.monotonic() < until, f"{len(self.acknowledged)} acknowledged, {count} awaited"
            time.sleep(0.002)

    def join(self) -> None:
        """Wait until all have ended; they end by themselves when the server does."""
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def end(self) -> None:
        """Have all end after what they are sending."""
        self._ending.set()
        self.join()

    def longest_silence(self) -> float:
        """Seconds between two acknowledgements at the most."""
        return max((later - earlier for earlier, later in pairwise(self._answered_at)), default=0.0)

    def snapshot(self) -> list[DicomFile]:
        """What is acknowledged by now."""
        with self._lock:
            return list(self.acknowledged)

    def _next(self, rng: random.Random, sender: int, number: int) -> DicomFile:
        # Some instances are everybody's: the same names with other bytes, so that versions are fought over.
        if rng.random() < 0.15:
            file = ct(rng.randrange(5), study=0, size=rng.choice(self.sizes), variant=rng.randrange(6))
        else:
            file = ct(number, study=sender, size=rng.choice(self.sizes), variant=sender)
        with self._lock:
            self.sent.setdefault(file.instance, set()).add(file.data_set)
        return file

    def _done(self, files: list[DicomFile], begun: float) -> None:
        if files:
            self.outages.succeeded(begun)
        with self._lock:
            self.acknowledged += files
            self._answered_at.append(time.monotonic())
        time.sleep(self.pause)

    def _by_dimse(self, server: Target, sender: int) -> None:
        rng, number = random.Random(sender), 0
        while not self._ending.is_set():
            begun = time.monotonic()
            try:
                with DimseClient(server.dimse) as client:
                    for _ in range(20):
                        number += 1
                        file = self._next(rng, sender, number)
                        begun = time.monotonic()
                        if client.store(file.instance, file.data_set) == SUCCESS:
                            self._done([file], begun)
                        else:
                            self.outages.failed(begun)
                    begun = time.monotonic()
                    client.release()
            except (EndedError, OSError):
                self.outages.failed(begun)
                if server.ended():
                    return
                time.sleep(0.01)

    def _by_stow(self, server: Target, sender: int) -> None:
        rng, number = random.Random(sender), 0
        while not self._ending.is_set():
            batch = []
            for _ in range(rng.randrange(1, 6)):
                number += 1
                batch.append(self._next(rng, sender, number))
            batch = list({file.instance: file for file in batch}.values())
            begun = time.monotonic()
            try:
                with WebClient(server.http) as client:
                    stored = client.stow(*batch).stored
            except FAILURES:
                self.outages.failed(begun)
                if server.ended():
                    return
                time.sleep(0.01)
                continue
            if not stored:
                self.outages.failed(begun)
            self._done([file for file in batch if file.instance in stored], begun)


def assert_survived(load: Load, acknowledged: list[DicomFile], data_sets: dict[tuple[str, str, int], bytes]) -> int:
    """Every acknowledged data set is there, and nothing that was never sent; how many were compared."""
    there: dict[str, set[bytes]] = {}
    for (_, instance, _), data_set in data_sets.items():
        there.setdefault(instance, set()).add(data_set)
    for file in acknowledged:
        assert file.data_set in there.get(file.instance, set()), f"lost: {file.instance}, seed {load.seed}"
    for instance, found in there.items():
        assert found <= load.sent[instance], f"never sent: {instance}, seed {load.seed}"
    return len(acknowledged)


def fresh(number: int) -> DicomFile:
    """An instance that no sender sends."""
    return ct(number, study=999_999, size=4096)


__all__ = ["Load", "assert_survived", "fresh", "uid"]
