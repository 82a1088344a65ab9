"""DIMSE over TLS: a transport over the plain one.

TLS works on memory, so that the socket is read and written in large pieces, as without TLS, under the same limits,
and may be stopped by another thread, which a TLS socket of Python's may not.

Source: PS3.8 section 9.1 (secure transport connections), PS3.15 B.12.
"""

import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Self, cast

from imagerepo.dimse.transport import EndedError, Transport, TransportClosedError
from imagerepo.model.arrival import Buffer
from imagerepo.tls.faults import Explained, Fault, explain

_RECEIVED: Final = 256 * 1024
"""Bytes received at a time at the most; pages that nothing was received into take no memory."""
_GATHERED: Final = 256 * 1024
"""Encrypted bytes that are written at once."""
_RECORD: Final = 16 * 1024
"""Bytes of the largest TLS record (RFC 8446 section 5.1)."""
_LAST_WORD: Final = 0.5  # seconds for the peer to take our goodbye


class HandshakeError(TransportClosedError):
    """TLS was not agreed on, or the peer refuses it afterwards; the message is a sentence."""

    def __init__(self, explained: Explained) -> None:
        super().__init__(explained.text)
        self.fault: Fault = explained.fault


class TlsTransport:
    """A transport that encrypts. Belongs to one thread, except for `stop`."""

    def __init__(
        self, beneath: Transport, wrap: Callable[[ssl.MemoryBIO, ssl.MemoryBIO], ssl.SSLObject], begun: Buffer
    ) -> None:
        """Prepare; see `server` and `client`."""
        self._beneath = beneath
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = wrap(self._incoming, self._outgoing)
        self._incoming.write(begun)
        self._heard = False  # whether a byte has come since the handshake
        self._received = memoryview(bytearray(_RECEIVED))

    @classmethod
    def server(cls, beneath: Transport, context: ssl.SSLContext, begun: Buffer = b"") -> Self:
        """The side that accepts; `begun` is what was received already."""
        return cls(beneath, lambda i, o: context.wrap_bio(i, o, server_side=True), begun)

    @classmethod
    def client(cls, beneath: Transport, context: ssl.SSLContext, server_name: str) -> Self:
        """The side that connects; the peer's certificate has to hold `server_name`."""
        return cls(beneath, lambda i, o: context.wrap_bio(i, o, server_hostname=server_name), b"")

    def handshake(self, seconds: float) -> None:
        """Agree on keys, within so many seconds whatever comes until then.

        Raises:
            HandshakeError: there is no agreement.
            SilenceError: the peer took too long.
        """
        deadline = time.monotonic() + seconds
        try:
            while True:
                try:
                    self._tls.do_handshake()
                except ssl.SSLWantReadError:
                    self._flush()
                    # Zero would mean for ever, the least there is means at once.
                    self._beneath.limit_receiving(max(0.0, deadline - time.monotonic()))
                    self._pull()
                else:
                    self._flush()
                    return
        except OSError as error:
            # The alert that tells the peer why.
            with suppress(EndedError):
                self._flush()
            raise HandshakeError(explain(error)) from error

    @property
    def peer_certificate(self) -> bytes | None:
        """The certificate that the peer showed and that was verified, in DER; None: none."""
        return self._tls.getpeercert(binary_form=True)

    @property
    def takes_lent(self) -> bool:
        """It is encrypted here."""
        return False

    def limit_sending(self, seconds: float) -> None:
        """Raise SilenceError when the peer takes nothing for so many seconds."""
        self._beneath.limit_sending(seconds)

    def limit_receiving(self, seconds: float) -> None:
        """Raise SilenceError when nothing comes for so many seconds."""
        self._beneath.limit_receiving(seconds)

    def receive(self, into: memoryview) -> int:
        """Wait for bytes; returns how many came, 0 at the end of the stream."""
        while (count := self._decrypted(into)) is None:
            try:
                self._pull()
            except TransportClosedError as error:
                raise self._ended(str(error)) from error
        return count

    def receive_arrived(self, into: memoryview) -> int | None:
        """What has arrived already, without waiting; None: nothing, 0: the end of the stream."""
        while (count := self._decrypted(into)) is None:
            arrived = self._beneath.receive_arrived(self._received)
            if arrived is None:
                return None
            self._take_in(arrived)
        return count

    def send(self, buffers: Sequence[Buffer]) -> None:
        """Send all of these, in order, as if they were one."""
        if len(buffers) > 1 and sum(map(len, buffers)) <= _RECORD:
            buffers = (b"".join(buffers),)  # one record instead of several small ones
        try:
            for buffer in buffers:
                view = memoryview(buffer)
                while view:
                    view = view[self._tls.write(view) :]
                    if self._outgoing.pending >= _GATHERED:
                        self._flush()
            self._flush()
        except OSError as error:
            raise self._failed(error) from error
        except TransportClosedError as error:
            raise self._ended(str(error)) from error

    def stop(self) -> None:
        """Wake the thread that waits in `receive`, now or next. May be called by any thread."""
        self._beneath.stop()

    def close(self) -> None:
        """Say that nothing more is sent (RFC 8446 section 6.1); the socket stays its owner's to close."""
        with suppress(OSError):
            self._tls.unwrap()  # the peer's own goodbye is not waited for
        with suppress(EndedError):
            self._beneath.limit_sending(_LAST_WORD)
            self._flush()

    def _decrypted(self, into: memoryview) -> int | None:
        """Bytes of what was received; None: more has to come first."""
        count = 0
        try:
            while count < len(into):
                # typeshed knows the kind without a buffer alone.
                got = cast("int", self._tls.read(len(into) - count, into[count:]))
                if not got:
                    break
                count += got
                self._heard = True
        except ssl.SSLWantReadError:
            self._flush()  # keys may have been changed (RFC 8446 section 4.6.3)
            return count or None
        except ssl.SSLZeroReturnError:
            return count
        except OSError as error:
            if count:
                return count  # the next call meets the error again
            raise self._failed(error) from error
        return count

    def _failed(self, error: OSError) -> TransportClosedError:
        if isinstance(error, ssl.SSLEOFError):
            return self._ended("closed by the peer")
        with suppress(EndedError):
            self._flush()
        return HandshakeError(explain(error))

    def _ended(self, said: str) -> TransportClosedError:
        if not self._heard:
            # Of TLS 1.3 the side that connects is done before the other has judged its certificate, whose alert may
            # be lost with the connection.
            said += " right after the TLS handshake; it may refuse our certificate, or want one"
        return TransportClosedError(said)

    def _pull(self) -> None:
        self._take_in(self._beneath.receive(self._received))

    def _take_in(self, count: int) -> None:
        if count:
            self._incoming.write(self._received[:count])
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._beneath.send((self._outgoing.read(),))
