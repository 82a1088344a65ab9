"""Deliver versions to one destination, over as many associations as it takes, each with a thread of its own.

What a destination does wrong costs its own sub-operations only: an instance that it refuses, or that it breaks off at,
fails alone. One that cannot be reached, or that broke off at several instances in a row, gets nothing more.

Source: PS3.4 C.4.2.3 (C-MOVE SCP behavior), C.4.2.2.2 (sub-operations).
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from imagerepo.dimse.suboperations import Source, Tally
from imagerepo.errors import (
    DamagedError,
    ImagerepoError,
    NotFoundError,
    PeerError,
    PeerFailure,
    SettingsError,
    UnavailableError,
)
from imagerepo.model.instance import Version
from imagerepo.ports.peers import Sent, Stoppable

log = logging.getLogger(__name__)

_RETRY_AFTER: Final = 1.0  # seconds before the first further attempt; n times as many before the nth
_LOSSES: Final = 3  # instances in a row that an association was lost at, until the destination gets nothing more


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is tried."""

    associations: int  # at the same time
    retries: int  # of what a passing failure prevented


class Delivery:
    """One retrieval's way to its destination."""

    def __init__(
        self,
        source: Source,
        tally: Tally,
        open_way: Callable[[], Stoppable],
        limits: Limits,
        places: threading.Semaphore,
    ) -> None:
        """Prepare.

        Args:
            source: what is to be sent.
            tally: counts what became of it.
            open_way: opens an association to the destination; raises PeerError.
            limits: how much is tried.
            places: how many threads all deliveries of this process may still have.
        """
        self._source = source
        self._tally = tally
        self._open = open_way
        self._limits = limits
        self._places = places
        self._ways: set[_Way] = set()  # of the threads that run
        self._changed = threading.Condition()
        self._started = self._running = 0
        self._taking = 0  # of those that run, the ones that will ask for a further version
        self._losses = 0  # in a row
        self._given_up: str | None = None  # why nothing more is sent
        self._stopped = threading.Event()
        self.error: ImagerepoError | None = None  # ours: what is left cannot be sent

    def start(self) -> None:
        """Begin to send, over one association; each one that was opened begins the next. Raises UnavailableError."""
        with self._changed:
            if self._started == self._limits.associations or self._stopped.is_set():
                return
            if not self._places.acquire(blocking=False):
                log.warning("dimse.delivery.no_place", extra={"running": self._running})
                if not self._running:
                    raise UnavailableError("too many retrievals are being sent at the same time; try again later")
                return
            way = _Way(self._open, self.start)
            thread = threading.Thread(target=self._run, args=(way,), name=f"delivery-{self._started + 1}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                self._places.release()
                log.warning("dimse.delivery.no_thread", extra={"running": self._running})
                if not self._running:
                    raise UnavailableError("no thread can be started for the sub-operations") from error
                return
            self._ways.add(way)
            self._started += 1
            self._running += 1
            self._taking += 1

    def finish(self) -> None:
        """Send nothing more; what is being sent may end."""
        self._stopped.set()

    def stop(self) -> None:
        """End at once what is being sent too. Nobody waits for what is left: a connection that is being opened."""
        self._stopped.set()
        with self._changed:
            ways = tuple(self._ways)
        for way in ways:
            way.stop()

    def ended(self, seconds: float) -> bool:
        """Whether nothing is under way any more; waits for that at the most so long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, seconds)

    def settle(self) -> None:
        """Count as failed what nobody is left to send."""
        reason = self._given_up or "no association could be opened"
        while (version := self._source.take()) is not None:
            self._tally.fail(version, reason)

    def _run(self, way: "_Way") -> None:
        try:
            while (version := self._next()) is not None:
                if not self._deliver(way, version):
                    break
            way.close()
        except (UnavailableError, SettingsError) as error:
            self.error = error
        except Exception:
            # The edge of the thread: whatever it was, somebody waits for the others.
            log.exception("dimse.delivery.failed")
            self.error = UnavailableError("a sub-operation failed unexpectedly; the log tells more")
        finally:
            way.drop()
            self._places.release()
            with self._changed:
                self._ways.remove(way)
                self._running -= 1
                self._changed.notify_all()

    def _next(self) -> Version | None:
        """What is to be sent next; None: nothing, and this thread takes nothing more."""
        version = None if self._stopped.is_set() else self._source.take()
        if version is not None:
            return version
        with self._changed:
            # Once more, since another may have handed one over meanwhile, counting on us.
            version = None if self._stopped.is_set() else self._source.take()
            self._taking -= version is None
            return version

    def _following(self) -> Version | None:
        """What this association will send next, if it is the only one: others read while it waits."""
        return self._source.peek() if self._limits.associations == 1 else None

    def _hand_over(self, version: Version) -> bool:
        """Leave a version to the other associations, if any of them still takes one; then this thread ends."""
        with self._changed:
            if self._taking == 1:
                return False
            self._taking -= 1
            self._source.give_back(version)
            return True

    def _deliver(self, way: "_Way", version: Version) -> bool:
        """Send one, or count it as failed; returns whether to go on."""
        if self._given_up is not None:
            self._tally.fail(version, self._given_up)
            return True
        error = self._attempts(way, version)
        if error is None:
            return not way.is_spare
        with self._changed:
            self._losses += 1
            if not way.opened or self._losses >= _LOSSES:
                self._given_up = error.brief
                log.warning("dimse.delivery.given_up", extra={"reason": str(error)})
        self._tally.fail(version, error.brief)
        return True

    def _attempts(self, way: "_Way", version: Version) -> PeerError | None:
        """Try to send one; returns what the destination did wrong, where it did."""
        attempt = 0
        while True:
            try:
                self._tally.add(version, way.send(version, self._following()))
            except PeerError as error:
                if error.failure is PeerFailure.REFUSED and way.opened:
                    self._tally.fail(version, error.brief)
                    return None
                way.drop()
                attempt += 1
                if not way.opened and self._hand_over(version):
                    way.is_spare = True
                    return None
                passes = error.failure.passes and error.failure is not PeerFailure.SILENT
                if not passes or attempt > self._limits.retries or self._stopped.wait(_RETRY_AFTER * attempt):
                    return error
            except (DamagedError, NotFoundError) as error:
                way.drop()  # amid a data set
                self._tally.fail(version, str(error))
                return None
            else:
                self._losses = 0
                return None


class _Way:
    """One association to the destination, opened when it is needed. Belongs to one thread, except for `stop`."""

    def __init__(self, open_way: Callable[[], Stoppable], then: Callable[[], object]) -> None:
        """`then` is called whenever it was opened."""
        self._open = open_way
        self._then = then
        self._sending: Stoppable | None = None
        self._changing = threading.Lock()
        self._stopped = False
        self.opened = False  # whether the latest attempt to open it succeeded
        self.is_spare = False  # the destination may take fewer associations than the setting says: the others go on

    def send(self, version: Version, then: Version | None) -> Sent:
        sending = self._sending
        if sending is None:
            self.opened = False
            sending = self._open()
            with self._changing:
                self._sending = sending
                if self._stopped:  # meanwhile
                    sending.stop()
            self.opened = True
            self._then()
        return sending.send(version, then)

    def stop(self) -> None:
        """End it whatever its thread waits for, now or when it is opened. May be called by any thread."""
        with self._changing:
            self._stopped = True
            if self._sending is not None:
                self._sending.stop()

    def close(self) -> None:
        """End it in order."""
        self._leave(None)

    def drop(self) -> None:
        """End it at once."""
        self._leave(ConnectionAbortedError())

    def _leave(self, error: ConnectionAbortedError | None) -> None:
        if self._sending is None:
            return
        try:
            self._sending.__exit__(None if error is None else type(error), error, None)
        finally:
            with self._changing:  # not before: the end may be waited for too
                self._sending = None
