"""Store parts in batches, receiving the next while one is committed.

At most one commit is under way for a request, and what waits is bounded in bytes and parts: a sender that is faster
than the disk is held back.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from imagerepo.dicomweb.report import Report
from imagerepo.errors import ImagerepoError
from imagerepo.flows.ingest.ingest import Arrival, Ingest
from imagerepo.flows.ingest.receive import Receiver
from imagerepo.model.arrival import Outcome
from imagerepo.model.caller import Caller
from imagerepo.model.uids import Uid

_BYTES: Final = 8 << 20
_PARTS: Final = 64


@dataclass(frozen=True, slots=True)
class Part:
    """One received file."""

    number: int
    receiver: Receiver


class Batches:
    """Collects parts and stores them. Use as an async context: leaving it releases what was not stored."""

    def __init__(self, ingest: Ingest, caller: Caller, study_uid: Uid | None, report: Report) -> None:
        self._ingest = ingest
        self._caller = caller
        self._study_uid = study_uid
        self._report = report
        self._waiting: list[Part] = []
        self._size = 0  # bytes that wait
        self._commit: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for part in self._waiting:
            part.receiver.release()
        self._waiting = []
        if self._commit is not None:
            # Its receivers are in use until it ends, even if the request is cancelled.
            await asyncio.shield(self._commit)

    async def add(self, part: Part) -> None:
        """Take over a part that is complete."""
        self._waiting.append(part)
        self._size += part.receiver.size
        if self._size >= _BYTES or len(self._waiting) >= _PARTS:
            await self._start()

    async def refuse(self, error: ImagerepoError, number: int) -> None:
        """Enter a part that could not be received."""
        self._report.refuse(error, number)
        await asyncio.to_thread(self._ingest.refuse, self._caller, error)

    async def finish(self) -> None:
        """Store what waits; afterwards the report is complete."""
        await self._start()
        await self._wait()

    async def _start(self) -> None:
        await self._wait()
        if self._waiting:
            self._commit = asyncio.create_task(self._store(self._waiting))
            self._waiting, self._size = [], 0

    async def _wait(self) -> None:
        if self._commit is not None:
            commit, self._commit = self._commit, None
            try:
                await asyncio.shield(commit)
            except asyncio.CancelledError:
                self._commit = commit
                raise

    async def _store(self, parts: Sequence[Part]) -> None:
        try:
            outcomes = await asyncio.to_thread(self._store_now, parts)
        finally:
            for part in parts:
                part.receiver.release()
        for part, outcome in zip(parts, outcomes, strict=True):
            self._report.add(outcome, part.number)

    def _store_now(self, parts: Sequence[Part]) -> list[Outcome]:
        arrivals = [Arrival(self._caller, part.receiver.payload(), study_uid=self._study_uid) for part in parts]
        return self._ingest.store(arrivals)
