"""The audit for threads that block: those of DIMSE associations.

One thread of its own has the event loop that the audit belongs to; it is begun by the first read or query, so that
processes without associations have none. What waits for the disk at the same time shares a commit, as everywhere.
"""

import asyncio
import logging
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from imagerepo.errors import ImagerepoError, UnavailableError
from imagerepo.flows.audit import Audit
from imagerepo.model.caller import Caller

log = logging.getLogger(__name__)

_CLOSE_EVERY: Final = 1.0  # seconds between looks for intervals that are over

_T = TypeVar("_T")


class BlockingAudit:
    """Enters reads and queries into the journal. Safe to call from any number of threads."""

    def __init__(self, audit: Audit) -> None:
        """Take over an audit that nobody else uses."""
        self._audit = audit
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def read(self, caller: Caller, study_uid: str) -> None:
        """Enter a read of a study; when it returns, the bytes may leave. Raises UnavailableError: nothing may."""
        self._wait(self._audit.read(caller, study_uid))

    def query(self, caller: Caller, text: str) -> None:
        """Enter a query; when it returns, the answer may leave. Raises UnavailableError."""
        self._wait(self._audit.query(caller, text))

    def close(self) -> None:
        """Enter the counts of all intervals, and end; what cannot be entered is logged."""
        with self._lock:
            self._closed = True
            loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        try:
            asyncio.run_coroutine_threadsafe(self._audit.close(force=True), loop).result()
        except ImagerepoError as error:
            log.warning("audit.counts_lost", extra={"reason": str(error)})
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _wait(self, entering: Coroutine[Any, Any, _T]) -> _T:
        try:
            loop = self._loop or self._begin()
        except UnavailableError:
            entering.close()
            raise
        return asyncio.run_coroutine_threadsafe(entering, loop).result()

    def _begin(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise UnavailableError("the journal is closed: the process ends")
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(loop,), name="audit", daemon=True)
                self._thread.start()
                self._loop = loop
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        closing = loop.create_task(self._close_intervals())
        try:
            loop.run_forever()
            closing.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(closing)
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    async def _close_intervals(self) -> None:
        while True:
            await asyncio.sleep(_CLOSE_EVERY)
            try:
                await self._audit.close(force=False)
            except ImagerepoError as error:
                log.warning("audit.counts_lost", extra={"reason": str(error)})
