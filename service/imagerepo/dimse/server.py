"""Accept connections on a socket that several processes share, a thread for each association.

Source: PS3.8 section 9.1 (use of TCP).
"""

import errno
import logging
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from imagerepo import proxy_protocol, telemetry
from imagerepo.dimse.association import ARTIM, Acceptor, Association
from imagerepo.dimse.negotiate import offer
from imagerepo.dimse.pdu import (
    Abort,
    AbortReason,
    AbortSource,
    PduReader,
    RejectReason,
    SilenceError,
    StoppedError,
    TransportClosedError,
)
from imagerepo.dimse.refusals import Refusals
from imagerepo.dimse.services import Services
from imagerepo.errors import BadRequestError
from imagerepo.flows.repository import Repository
from imagerepo.model.addresses import within
from imagerepo.settings import networks

log = logging.getLogger(__name__)

_SPARE_CONNECTIONS: Final = 64
"""Connections beyond the associations allowed: those being rejected, or not yet asking. Further ones are closed."""
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_EXHAUSTED_PAUSE: Final = 0.1  # seconds until descriptors or memory may be free again
_POLL: Final = 0.5  # seconds; a wake-up that was lost is made good by then
# A process waits before it takes a further connection, the longer the more associations it has: so connections
# that come at once spread over the processes that wait for them, instead of all going to the one that ran first.
_DEFER_STEP, _DEFER_MOST = 0.0005, 0.003  # seconds
_CLOSE_EVERY: Final = 1.0  # seconds between looks for refusals whose interval is over
_LAST_ANSWERS: Final = 5.0  # seconds for requests in progress when the grace ends, and for peers to close


class DimseServer:
    """Serves DIMSE on one listening socket. `serve_forever` belongs to one thread, the rest may be called by any."""

    def __init__(
        self,
        repository: Repository,
        listening_socket: socket.socket,
        *,
        admit: Callable[[], bool],
        leave: Callable[[], None],
    ) -> None:
        """Assemble.

        Args:
            repository: what is served.
            listening_socket: bound and listening; may be shared with other processes.
            admit: takes one of `settings.dimse.max_associations` places, which all processes share; False: none left.
            leave: gives it back.
        """
        settings = repository.settings
        offered = offer(settings.dimse)
        self._repository = repository
        self._listening = listening_socket
        self._refusals = Refusals(repository.ingest, settings.audit.interval)
        self._acceptor = Acceptor(
            repository, offered, Services(repository, offered), self._admit, self._leave, self._refusals
        )
        self._take_place = admit
        self._give_place = leave
        self._proxies = networks(settings.trusted_proxies)
        self._most = settings.dimse.max_associations + _SPARE_CONNECTIONS
        self._lock = threading.Lock()
        self._threads: dict[threading.Thread, tuple[PduReader, Association | None]] = {}
        self._associations = 0
        self._draining = False
        self._ended = threading.Event()
        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._number = 0

    @property
    def associations(self) -> int:
        """Open associations of this process."""
        return self._associations

    def serve_forever(self) -> None:
        """Accept until `drain`; returns once nothing more is accepted. Associations go on in their threads."""
        self._listening.setblocking(False)
        poll = select.poll()
        poll.register(self._listening, select.POLLIN)
        poll.register(self._wake_receiver, select.POLLIN)
        threading.Thread(target=self._close_refusals, name="refusals", daemon=True).start()
        try:
            while not self._draining:
                if poll.poll(_POLL * 1000) and not self._draining:
                    time.sleep(min(self._associations * _DEFER_STEP, _DEFER_MOST))
                    self._accept()
        finally:
            self._wake_receiver.close()
            self._wake_sender.close()

    def drain(self, grace_seconds: float) -> None:
        """Accept nothing more, let associations end by themselves, abort those that have not when the grace is over.

        A request that is being done when the grace ends is answered first. Blocks until all have ended, at the
        most a few seconds beyond the grace.
        """
        self._draining = True
        with suppress(OSError):
            self._wake_sender.send(b"\0")
        try:
            self._end_associations(time.monotonic() + grace_seconds)
        finally:
            self._ended.set()
            self._refusals.close_all()

    def _end_associations(self, deadline: float) -> None:
        self._join(deadline)
        with self._lock:
            left = list(self._threads.values())
        if not left:
            return
        log.info("dimse.drain.grace_over", extra={"associations": len(left)})
        for reader, association in left:
            if association is None:
                reader.stop()
            else:
                association.stop()
        self._join(time.monotonic() + _LAST_ANSWERS)

    def _close_refusals(self) -> None:
        while not self._ended.wait(_CLOSE_EVERY):
            self._refusals.close()

    def _join(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            with self._lock:
                thread = next(iter(self._threads), None)
            if thread is None:
                return
            thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        try:
            connection, peer = self._listening.accept()
        except BlockingIOError:
            return  # another process was faster
        except OSError as error:
            # A connection that was reset while it waited is nobody's loss; without descriptors we have to wait.
            if error.errno in _EXHAUSTED:
                log.warning("dimse.accept.exhausted", extra={"errno": error.errno})
                time.sleep(_EXHAUSTED_PAUSE)
            return
        with self._lock:
            crowded = len(self._threads) >= self._most
        if crowded:
            log.warning("dimse.accept.crowded", extra={"connections": self._most})
            connection.close()
            return
        self._number += 1
        thread = threading.Thread(
            target=self._serve, args=(connection, str(peer[0])), name=f"association-{self._number}", daemon=True
        )
        try:
            reader = PduReader(connection, self._repository.settings.dimse.idle_timeout)
            with self._lock:
                self._threads[thread] = (reader, None)
            thread.start()
        except (OSError, RuntimeError, MemoryError) as error:
            log.warning("dimse.accept.failed", extra={"error": type(error).__name__})
            self._forget(thread)
            connection.close()

    def _forget(self, thread: threading.Thread) -> None:
        with self._lock:
            self._threads.pop(thread, None)

    def _serve(self, connection: socket.socket, peer: str) -> None:
        thread = threading.current_thread()
        with self._lock:
            reader, _ = self._threads[thread]
        with connection:
            try:
                address = self._source_address(reader, peer)
                if address is not None:
                    with Association(self._acceptor, reader, address) as association:
                        with self._lock:
                            self._threads[thread] = (reader, association)
                        association.run()
            except Exception:
                # The edge of the thread: whatever it was must not hurt other associations.
                log.exception("dimse.association.failed", extra={"address": peer})
                with suppress(TransportClosedError, SilenceError):
                    reader.send(Abort(AbortSource.SERVICE_PROVIDER, AbortReason.NOT_SPECIFIED).encode())
        self._forget(thread)

    def _source_address(self, reader: PduReader, peer: str) -> str | None:
        """The sender's address: the peer's, or the one that a trusted balancer names; None: it does not."""
        if not within(peer, self._proxies):
            return peer
        reader.set_deadline(min(ARTIM, self._repository.settings.dimse.idle_timeout))
        try:
            while (header := proxy_protocol.parse(reader.peek())) is None:
                reader.more()
            reader.skip(header.length)
        except BadRequestError as error:
            log.warning("dimse.proxy.refused", extra={"address": peer, "reason": str(error)})
            with suppress(TransportClosedError, SilenceError):
                reader.send(Abort(AbortSource.SERVICE_PROVIDER, AbortReason.UNRECOGNIZED_PDU).encode())
            return None
        except (TransportClosedError, SilenceError, StoppedError):
            return None  # balancers open connections to see whether they can
        return header.source_address or peer

    def _admit(self) -> RejectReason | None:
        if self._draining:
            return RejectReason.TEMPORARY_CONGESTION
        if not self._take_place():
            return RejectReason.LOCAL_LIMIT_EXCEEDED
        with self._lock:
            self._associations += 1
        telemetry.dimse_associations.inc()
        return None

    def _leave(self) -> None:
        with self._lock:
            self._associations -= 1
        telemetry.dimse_associations.dec()
        self._give_place()
