"""Reads and queries in the journal, at almost no cost.

All reads of one study by one caller within an interval are one entry: the first is committed before its first
byte leaves, the number of them when the interval closes. Each query is an entry.

On a full disk reading goes on: its entries wait in memory, bounded, until there is room again.
"""

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime

from imagerepo.errors import OutOfSpaceError
from imagerepo.model.caller import Caller
from imagerepo.model.events import Action, JournalRequest
from imagerepo.ports.commits import Commits

log = logging.getLogger(__name__)

_LATE = 10_000  # entries that wait for room on the disk
_QUERY = 1000  # characters of a query kept in the journal


@dataclass(slots=True)
class _Window:
    """An open interval. `opened` is done once its first entry is durable."""

    caller: Caller
    study_uid: str
    until: float  # monotonic seconds
    count: int
    opened: asyncio.Future[None] | None


class Audit:
    """Enters reads and queries into the journal. `read` and `query` belong to one event loop."""

    def __init__(self, commits: Commits, interval: float) -> None:
        """Assemble; `interval` in seconds."""
        self._commits = commits
        self._interval = interval
        self._windows: dict[tuple[str, str, str, str], _Window] = {}
        self._late: list[JournalRequest] = []

    async def read(self, caller: Caller, study_uid: str) -> None:
        """Enter a read of a study; when it returns, the bytes may leave.

        Raises:
            UnavailableError: the entry could not be made durable; nothing may leave.
        """
        key = (caller.institution, caller.name, caller.address, study_uid)
        window = self._windows.get(key)
        now = time.monotonic()
        if window is not None and window.until > now:
            window.count += 1
            if window.opened is not None:
                await asyncio.shield(window.opened)
            return
        if window is not None:
            await self.close(force=False)
        window = _Window(caller, study_uid, now + self._interval, 1, asyncio.get_running_loop().create_future())
        self._windows[key] = window
        await self._open(key, window)

    async def query(self, caller: Caller, text: str) -> None:
        """Enter a query; when it returns, the answer may leave. Raises UnavailableError."""
        await self._commit([JournalRequest(caller, Action.QUERY, datetime.now(UTC), (("query", text[:_QUERY]),))])

    async def close(self, *, force: bool) -> None:
        """Enter the counts of intervals that are over (`force`: of all)."""
        now = time.monotonic()
        over = [(key, one) for key, one in self._windows.items() if force or one.until <= now]
        for key, _ in over:
            del self._windows[key]
        if over or self._late:
            at = datetime.now(UTC)
            await self._commit(
                [
                    JournalRequest(one.caller, Action.READ_COUNT, at, (("study", one.study_uid), ("count", one.count)))
                    for _, one in over
                ]
            )

    async def _open(self, key: tuple[str, str, str, str], window: _Window) -> None:
        opened = window.opened
        assert opened is not None
        try:
            await self._commit(
                [JournalRequest(window.caller, Action.READ, datetime.now(UTC), (("study", window.study_uid),))]
            )
        except BaseException as error:
            self._windows.pop(key, None)
            opened.set_exception(error)
            opened.exception()  # those who wait see it; none may
            raise
        opened.set_result(None)
        window.opened = None

    async def _commit(self, requests: list[JournalRequest]) -> None:
        late, self._late = self._late, []
        results = await asyncio.to_thread(self._commits.commit, [*late, *requests])
        for request, result in zip([*late, *requests], results, strict=True):
            if isinstance(result.error, OutOfSpaceError):
                self._wait(request)
            elif result.error is not None:
                raise result.error

    def _wait(self, request: JournalRequest) -> None:
        if len(self._late) < _LATE:
            self._late.append(request)
        else:
            log.error("audit.entry_lost", extra={"action": request.action, "institution": request.caller.institution})
