"""Accept connections on a socket that several processes share, a thread for each association.

Source: PS3.8 section 9.1 (use of TCP).
"""

import errno
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from imagerepo import telemetry
from imagerepo.dimse.association import Acceptor, Association
from imagerepo.dimse.negotiate import VERIFICATION, offer
from imagerepo.dimse.opening import Opened, Opening, SecureListener
from imagerepo.dimse.pdu import Abort, AbortReason, AbortSource, PduReader, RejectReason
from imagerepo.dimse.refusals import Refusals
from imagerepo.dimse.services import Services
from imagerepo.dimse.table import entries
from imagerepo.dimse.transport import PlainTransport, SilenceError, TransportClosedError
from imagerepo.flows.repository import Repository
from imagerepo.tls.keyring import Keyring

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
_RESTED: Final = 3.0  # seconds without a request, after which an association has no part in the grace
_LOOK: Final = 0.2  # seconds between looks for those
_LAST_ANSWERS: Final = 5.0  # seconds for requests in progress when the grace ends, and for peers to close


class DimseServer:
    """Serves DIMSE on one listening socket, and on one beside it for TLS.

    `serve_forever` belongs to one thread, the rest may be called by any.
    """

    def __init__(
        self,
        repository: Repository,
        listening_socket: socket.socket,
        *,
        secure: SecureListener | None = None,
        admit: Callable[[], bool],
        leave: Callable[[], None],
    ) -> None:
        """Assemble.

        Args:
            repository: what is served.
            listening_socket: bound and listening; may be shared with other processes.
            secure: likewise, a port of TLS beside it.
            admit: takes one of `settings.dimse.max_associations` places, which all processes share; False: none left.
            leave: gives it back.
        """
        settings = repository.settings
        services = Services(entries(repository))
        offered = offer(settings.dimse, services.sop_classes - {VERIFICATION})
        self._repository = repository
        self._listening = listening_socket
        self._secure = secure
        self._opening = Opening(settings)
        self._refusals = Refusals(repository.ingest, settings.audit.interval)
        self._acceptor = Acceptor(repository, offered, services, self._admit, self._leave, self._refusals)
        self._take_place = admit
        self._give_place = leave
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
        poll = select.poll()
        listening: dict[int, tuple[socket.socket, Keyring | None]] = {
            self._listening.fileno(): (self._listening, None)
        }
        if self._secure is not None:
            listening[self._secure.socket.fileno()] = (self._secure.socket, self._secure.keyring)
        for descriptor, (listener, _) in listening.items():
            listener.setblocking(False)
            poll.register(descriptor, select.POLLIN)
        poll.register(self._wake_receiver, select.POLLIN)
        threading.Thread(target=self._close_refusals, name="refusals", daemon=True).start()
        try:
            while not self._draining:
                ready = poll.poll(_POLL * 1000)
                if ready and not self._draining:
                    time.sleep(min(self._associations * _DEFER_STEP, _DEFER_MOST))
                    for descriptor, _ in ready:
                        if descriptor in listening:
                            self._accept(*listening[descriptor])
        finally:
            self._wake_receiver.close()
            self._wake_sender.close()

    def drain(self, grace_seconds: float) -> None:
        """Accept nothing more, let associations end by themselves, abort those that have not when the grace is over.

        Those that merely stand, waiting for requests to come, are aborted after a few seconds. A request that is being
        done when the grace ends is answered first. Blocks until all have ended, at the most a few seconds beyond the
        grace.
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
        while (left := self._left()) and (now := time.monotonic()) < deadline:
            for _, association in left:
                if association is not None and association.rests(_RESTED):
                    association.stop()
            self._join(min(now + _LOOK, deadline))
        if not left:
            return
        log.info("dimse.drain.grace_over", extra={"associations": len(left)})
        for reader, association in left:
            if association is None:
                reader.stop()
            else:
                association.stop()
        self._join(time.monotonic() + _LAST_ANSWERS)

    def _left(self) -> Sequence[tuple[PduReader, Association | None]]:
        with self._lock:
            return list(self._threads.values())

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

    def _accept(self, listening: socket.socket, keyring: Keyring | None) -> None:
        try:
            connection, peer = listening.accept()
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
            target=self._serve,
            args=(connection, str(peer[0]), keyring),
            name=f"association-{self._number}",
            daemon=True,
        )
        try:
            reader = PduReader(PlainTransport(connection), self._repository.settings.dimse.idle_timeout)
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

    def _serve(self, connection: socket.socket, peer: str, keyring: Keyring | None) -> None:
        thread = threading.current_thread()
        with self._lock:
            reader, _ = self._threads[thread]
        with connection:
            try:
                if keyring is None:
                    opened = self._opening.plain(reader, peer)
                else:
                    opened = self._opening.secure(reader, peer, keyring)
                if opened is not None:
                    reader = opened.reader
                    self._run(thread, opened)
            except Exception:
                # The edge of the thread: whatever it was must not hurt other associations.
                log.exception("dimse.association.failed", extra={"address": peer})
                with suppress(TransportClosedError, SilenceError):
                    reader.send(Abort(AbortSource.SERVICE_PROVIDER, AbortReason.NOT_SPECIFIED).encode())
        self._forget(thread)

    def _run(self, thread: threading.Thread, opened: Opened) -> None:
        with Association(self._acceptor, opened.reader, opened.origin) as association:
            with self._lock:
                self._threads[thread] = (opened.reader, association)
            association.run()
        opened.close()

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
