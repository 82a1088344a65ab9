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

from blake3 import blake3

from imagerepo.errors import ImagerepoError, OutOfSpaceError
from imagerepo.model.caller import Caller
from imagerepo.model.events import Action, JournalRequest
from imagerepo.ports.commits import Commits
from imagerepo.ports.intervals import Intervals, State

log = logging.getLogger(__name__)

_LATE = 10_000  # entries that wait for room on the disk
_QUERY = 1000  # characters of a query kept in the journal


@dataclass(slots=True)
class _Window:
    """An interval that this process has read in."""

    name: bytes
    caller: Caller
    study_uid: str
    until: float  # monotonic seconds
    opened: asyncio.Future[None] | None  # None once its entry is durable


class Audit:
    """Enters reads and queries into the journal. Belongs to one event loop."""

    def __init__(self, commits: Commits, intervals: Intervals, interval: float) -> None:
        """Assemble; `interval` in seconds."""
        self._commits = commits
        self._intervals = intervals
        self._interval = interval
        self._windows: dict[bytes, _Window] = {}
        self._late: list[JournalRequest] = []

    async def read(self, caller: Caller, study_uid: str) -> None:
        """Enter a read of a study; when it returns, the bytes may leave.

        Raises:
            UnavailableError: the entry could not be made durable; nothing may leave.
        """
        name = blake3(f"{caller.institution}\0{caller.name}\0{caller.address}\0{study_uid}".encode()).digest(16)
        now = time.monotonic()
        window = self._windows.get(name)
        if window is not None and window.until <= now:
            await self._close([window])
            window = None
        entered = self._intervals.enter(name, now, self._interval)
        if window is not None:
            if window.opened is not None:
                await asyncio.shield(window.opened)
            return
        self._windows[name] = window = _Window(name, caller, study_uid, entered.until, None)
        if entered.state is not State.OPEN:
            await self._open(window, entered.over)

    async def query(self, caller: Caller, text: str) -> None:
        """Enter a query; when it returns, the answer may leave. Raises UnavailableError."""
        await self._commit([JournalRequest(caller, Action.QUERY, datetime.now(UTC), (("query", text[:_QUERY]),))])

    async def close(self, *, force: bool) -> None:
        """Enter the counts of intervals that are over (`force`: of all), and what waited for room."""
        now = time.monotonic()
        await self._close([one for one in self._windows.values() if force or one.until <= now])

    async def _close(self, over: list[_Window]) -> None:
        requests: list[JournalRequest] = []
        at = datetime.now(UTC)
        for one in over:
            self._windows.pop(one.name, None)
            count = self._intervals.close(one.name, one.until)
            if count:
                requests.append(_count(one, count, at))
        if requests or self._late:
            await self._commit(requests)

    async def _open(self, window: _Window, over: int) -> None:
        window.opened = opened = asyncio.get_running_loop().create_future()
        at = datetime.now(UTC)
        requests = [_count(window, over, at)] if over else []
        requests.append(JournalRequest(window.caller, Action.READ, at, (("study", window.study_uid),)))
        try:
            await self._commit(requests)
        except BaseException as error:
            self._windows.pop(window.name, None)
            self._intervals.close(window.name, window.until)
            opened.set_exception(error)
            opened.exception()  # whoever waits for it sees it; nobody has to
            raise
        self._intervals.opened(window.name, window.until)
        window.opened = None
        opened.set_result(None)

    async def _commit(self, requests: list[JournalRequest]) -> None:
        late, self._late = self._late, []
        results = await asyncio.to_thread(self._commits.commit, [*late, *requests])
        failed: ImagerepoError | None = None
        for request, result in zip([*late, *requests], results, strict=True):
            if isinstance(result.error, OutOfSpaceError):
                self._wait(request)
            elif result.error is not None:
                failed = result.error
                if request.action is not Action.READ:
                    self._wait(request)
        if failed is not None:
            raise failed

    def _wait(self, request: JournalRequest) -> None:
        if len(self._late) < _LATE:
            self._late.append(request)
        else:
            log.error("audit.entry_lost", extra={"action": request.action, "institution": request.caller.institution})


def _count(window: _Window, count: int, at: datetime) -> JournalRequest:
    detail = (("study", window.study_uid), ("count", count))
    return JournalRequest(window.caller, Action.READ_COUNT, at, detail)
