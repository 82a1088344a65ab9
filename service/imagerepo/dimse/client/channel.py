"""Messages on an association that we opened: written whole, read piece by piece.

Source: PS3.8 section 9.3.5 and Annex E (P-DATA-TF, PDV encoding), PS3.7 section 6.3 (messages).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from imagerepo.dimse.client.negotiation import Accepted
from imagerepo.dimse.messages import COMMAND_LIMIT, Command, MalformedCommandError, parse
from imagerepo.dimse.negotiate import PresentationContext
from imagerepo.dimse.pdu import (
    RELEASE_RP,
    RELEASE_RQ,
    Abort,
    AbortReason,
    AbortSource,
    Framing,
    InvalidPduError,
    PduReader,
    PduType,
    data_pdus,
)
from imagerepo.dimse.transport import EndedError, SilenceError, TransportClosedError

if TYPE_CHECKING:
    from imagerepo.dimse.outgoing import Outgoing

DATA_LIMIT: Final = 16 * 1024 * 1024
"""Bytes of the longest data set gathered in memory; a list of 100,000 failed UIDs has 6.5 MB."""

_COMMAND, _LAST = 1, 2  # bits of the message control header (PS3.8 Annex E.2)
_ABORT_LENGTH: Final = 4  # bytes after the header, likewise of both release PDUs


class AbortedError(EndedError):
    """An A-ABORT came; `body` is what follows its header."""

    def __init__(self, body: bytes) -> None:
        super().__init__("aborted by the peer")
        self.body = body


class ReleasedError(EndedError):
    """The peer released the association where an answer was due; it has been told that we agree."""


class Channel:
    """Reads and writes messages. Belongs to one thread at a time.

    Every method raises EndedErrors: the association is over; InvalidPduError, MalformedCommandError: it has to be.
    """

    def __init__(self, reader: PduReader, accepted: Accepted, max_pdu: int, patience: float) -> None:
        """Take over an established association.

        Args:
            reader: of its connection.
            accepted: what was agreed.
            max_pdu: what we receive and send at the most, in bytes after the header.
            patience: seconds for a command to come whole once it is waited for: a byte now and then is no answer.
        """
        self._reader = reader
        self._contexts = accepted.contexts
        self._most = max_pdu
        self._patience = patience
        theirs = accepted.user.max_length
        self.max_length = min(theirs, max_pdu) if theirs else max_pdu  # bytes of a PDU sent, after its header

    def framing(self, context: PresentationContext) -> Framing:
        """How data sets are sent in a context."""
        return Framing(context.id, self.max_length, self._reader.transport.takes_lent)

    def send(self, context: PresentationContext, command_set: bytes, data: "Outgoing | None" = None) -> None:
        """Send a message."""
        command = data_pdus(context.id, command_set, _COMMAND, self.max_length)
        if data is None:
            self._reader.send(command)
            return
        # The command leaves with the first bytes of its data set: one segment less to wait for.
        waiting: tuple[bytes, ...] = (command,)
        for buffers in data.fragments(self.framing(context)):
            self._reader.send_all((*waiting, *buffers))
            waiting = ()

    def receive_command(self) -> tuple[PresentationContext, Command]:
        """The next message's command, and where it came in."""
        self._reader.set_deadline(self._patience)
        command_set = bytearray()
        context: PresentationContext | None = None
        while True:
            context_id, control, size = self._pdv()
            if not control & _COMMAND:
                raise InvalidPduError("a fragment of a data set that no command announced")
            if context is None:
                context = self._contexts.get(context_id)
            if context is None or context_id != context.id:
                raise InvalidPduError(f"a command in presentation context {context_id}")
            if len(command_set) + size > COMMAND_LIMIT:
                raise MalformedCommandError(f"a command set above {COMMAND_LIMIT} bytes")
            self._pieces(size, command_set.extend)
            if control & _LAST:
                self._reader.set_deadline(None)
                return context, parse(command_set)

    def receive_data(self, context: PresentationContext, take: Callable[[memoryview], object]) -> None:
        """Hand on the data set that the command announced, in pieces, each valid during the call only."""
        last = 0
        while not last:
            context_id, control, size = self._pdv()
            if control & _COMMAND or context_id != context.id:
                raise InvalidPduError("another message amid a data set")
            self._pieces(size, take)
            last = control & _LAST

    def gather_data(self, context: PresentationContext) -> bytes:
        """The data set that the command announced, at most DATA_LIMIT bytes."""
        data = bytearray()

        def take(piece: memoryview) -> None:
            if len(data) + len(piece) > DATA_LIMIT:
                raise InvalidPduError(f"a response with a data set above {DATA_LIMIT} bytes")
            data.extend(piece)

        self.receive_data(context, take)
        return bytes(data)

    def release(self, seconds: float) -> None:
        """End the association in order; the peer has so many seconds to agree (PS3.8 section 7.2)."""
        self._reader.set_deadline(seconds)
        self._reader.send(RELEASE_RQ)
        while (kind := self._pdu()) != PduType.RELEASE_RP:
            if kind == PduType.RELEASE_RQ:
                self._reader.send(RELEASE_RP)  # both at once: the requestor answers first (PS3.8 section 7.2.2.5)

    def abort(self) -> None:
        """Tell the peer that the association is over."""
        self._reader.send(Abort(AbortSource.SERVICE_USER, AbortReason.NOT_SPECIFIED).encode())

    def last_word(self) -> bytes | None:
        """The body of the A-ABORT that came before the connection ended, if one did. Raises nothing."""
        try:
            pdu = self._reader.arrived()
        except (TransportClosedError, SilenceError):
            return None
        if pdu is None or pdu[0] != PduType.ABORT:
            return None
        body = bytes(pdu[-_ABORT_LENGTH:])
        return body if len(pdu) == len(body) + 6 else None

    def _pieces(self, size: int, take: Callable[[memoryview], object]) -> None:
        while size:
            piece = self._reader.piece(size)
            size -= len(piece)
            take(piece)

    def _pdv(self) -> tuple[int, int, int]:
        """The next PDV's context ID, message control header and bytes."""
        reader = self._reader
        if not reader.unread:
            kind = self._pdu()
            if kind == PduType.RELEASE_RQ:
                reader.send(RELEASE_RP)
                raise ReleasedError
            if kind != PduType.P_DATA_TF:
                raise InvalidPduError("an answer to a release that was not asked for", AbortReason.UNEXPECTED_PDU)
        if reader.unread < 6:
            raise InvalidPduError(f"{reader.unread} bytes after the last PDV")
        length, context_id, control = reader.pdv_header()
        reader.unread -= 6
        size = length - 2
        if not 0 <= size <= reader.unread:
            raise InvalidPduError(f"a PDV of {length} bytes where {reader.unread + 2} are left")
        reader.unread -= size
        return context_id, control, size

    def _pdu(self) -> PduType:
        """The next PDU: passes over what is left of the one before; data are left to be read, others are whole."""
        reader = self._reader
        reader.skip(reader.unread)
        reader.unread = 0
        kind, length = reader.header()
        if kind == PduType.P_DATA_TF:
            if not 0 < length <= self._most:
                raise InvalidPduError(f"a P-DATA-TF PDU of {length} bytes; 1 to {self._most} are accepted")
            reader.unread = length
            return PduType.P_DATA_TF
        body = bytes(reader.body(length))
        if kind == PduType.ABORT and length == _ABORT_LENGTH:
            raise AbortedError(body)
        if kind not in {PduType.RELEASE_RQ, PduType.RELEASE_RP} or length != _ABORT_LENGTH:
            raise InvalidPduError(f"a PDU of type {kind:02X}H", AbortReason.UNEXPECTED_PDU)
        return PduType(kind)
