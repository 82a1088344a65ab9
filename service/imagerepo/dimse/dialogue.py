"""Messages on an established association: what comes becomes operations, what goes are responses and our own requests.

Operations are done by the association's thread, one at a time. One that takes long looks now and then at what has
come meanwhile (`cancelled`); one that asks something back on the same association (`call`) receives until its response
is there. What else comes then is left to the state machine: an exception tells it, which the operation lets pass.

Source: PS3.7 section 6 (messages), 9.3 (C-CANCEL), D.3.3.3 (asynchronous operations); PS3.8 Annex E (PDV encoding).
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from imagerepo import telemetry
from imagerepo.dimse.messages import (
    COMMAND_LIMIT,
    DATA_SET,
    NO_DATA_SET,
    NO_ELEMENTS,
    PENDING,
    RESPONSE,
    Command,
    CommandField,
    Element,
    MalformedCommandError,
    Value,
    encode,
    parse,
    response,
)
from imagerepo.dimse.negotiate import Agreement, PresentationContext
from imagerepo.dimse.pdu import Framing, InvalidPduError, PduReader, PduType, data_pdus, only_pdv
from imagerepo.dimse.services import Operation, Request, Services
from imagerepo.dimse.states import Event
from imagerepo.dimse.transport import EndedError
from imagerepo.model.caller import Caller

if TYPE_CHECKING:
    from imagerepo.dimse.outgoing import Outgoing

_COMMAND, _LAST = 1, 2  # bits of the message control header (PS3.8 Annex E.2)
_MOST_NESTED: Final = 8
"""Operations begun while we wait for a response; a peer that goes on so is aborted."""
_MESSAGE_IDS: Final = 0xFFFF


def _nothing() -> None:
    """What is done while a response is on its way, unless there is something to do."""


class InterruptedByPduError(EndedError):
    """A PDU other than data came amid an operation: release or abort. The state machine goes on with `event`."""

    def __init__(self, event: Event) -> None:
        super().__init__(f"{event.name} amid an operation")
        self.event = event


@dataclass(frozen=True, slots=True)
class Parties:
    """Who talks."""

    caller: Caller
    calling_ae_title: str
    called_ae_title: str


class Dialogue:
    """The messages of one association; an Exchange to its operations. Belongs to the association's thread."""

    def __init__(
        self,
        reader: PduReader,
        agreement: Agreement,
        services: Services,
        parties: Parties,
        next_pdu: Callable[[], Event],
    ) -> None:
        """Begin with the next PDU that carries data.

        Args:
            reader: of the connection; its `unread` tells how much of the present PDU is left.
            agreement: what was negotiated.
            services: what can be asked.
            parties: who asks whom.
            next_pdu: receives a PDU: all of it, or of one that carries data the header.
        """
        self._reader = reader
        self._agreement = agreement
        self._services = services
        self._parties = parties
        self._next_pdu = next_pdu
        self._bytes = bytearray()  # of the command that is being received
        self._context: PresentationContext | None = None  # of the message that is being received
        self._receiving: _Message | None = None  # the one whose data set is being received
        self._performing: list[int] = []  # message IDs of the operations being done, inner ones last
        self._answered: set[int] = set()  # of these, the ones whose final response was sent
        self._cancels: set[int] = set()  # of these, the ones that were cancelled
        self._calls: dict[int, Command | None] = {}  # our requests by message ID, with their responses
        self._message_id = 0

    @property
    def caller(self) -> Caller:
        """Who opened the association."""
        return self._parties.caller

    @property
    def calling_ae_title(self) -> str:
        """The requestor's AE title, as sent."""
        return self._parties.calling_ae_title

    @property
    def called_ae_title(self) -> str:
        """The AE title that the requestor called us by."""
        return self._parties.called_ae_title

    @property
    def contexts(self) -> Mapping[int, PresentationContext]:
        """The accepted presentation contexts, by ID."""
        return self._agreement.contexts

    @property
    def peer_max_length(self) -> int:
        """Bytes of the largest PDU that the peer receives, after the header; 0: any."""
        return self._agreement.peer_max_length

    def framing(self, context: PresentationContext) -> Framing:
        """How data sets are sent in a context."""
        return Framing(context.id, self.peer_max_length, self._reader.transport.takes_lent)

    # What goes

    def respond(
        self,
        context: PresentationContext,
        request: Command,
        status: int,
        comment: str = "",
        *,
        elements: Mapping[Element, Value] = NO_ELEMENTS,
        data_set: bytes | None = None,
    ) -> None:
        """Send a response, with a data set if there is one."""
        if status not in PENDING:
            self._answered.add(request.message_id)
        if data_set is None:
            self._send(context, response(request, status, comment, elements), b"")
        else:
            command = response(request, status, comment, {**elements, Element.DATA_SET_TYPE: DATA_SET})
            self._send(context, command, data_pdus(context.id, data_set, 0, self.peer_max_length))

    def respond_each(
        self, context: PresentationContext, request: Command, status: int, data_sets: Sequence[bytes]
    ) -> None:
        """Send a pending response for each data set, all at once: their commands are the same."""
        command = response(request, status, "", {Element.DATA_SET_TYPE: DATA_SET})
        first = data_pdus(context.id, command, _COMMAND, self.peer_max_length)
        parts = [first + data_pdus(context.id, one, 0, self.peer_max_length) for one in data_sets]
        self._reader.send(b"".join(parts))

    def call(
        self,
        context: PresentationContext,
        command: Mapping[Element, Value],
        data: "Outgoing | None" = None,
        meanwhile: Callable[[], object] = _nothing,
    ) -> Command:
        """Send a request of ours, do something, wait for its response; a data set that comes with it is dropped."""
        self._message_id = message_id = self._message_id % _MESSAGE_IDS + 1
        values: dict[Element, Value] = {
            **command,
            Element.MESSAGE_ID: message_id,
            Element.DATA_SET_TYPE: NO_DATA_SET if data is None else DATA_SET,
        }
        self._calls[message_id] = None
        try:
            # The command leaves with the first bytes of its data set: one segment less to wait for.
            waiting = (data_pdus(context.id, encode(values), _COMMAND, self.peer_max_length),)
            for buffers in () if data is None else data.fragments(self.framing(context)):
                self._reader.send_all((*waiting, *buffers))
                waiting = ()
            if waiting:
                self._reader.send_all(waiting)
            meanwhile()
            while (answer := self._calls[message_id]) is None:
                self._receive_more()
            return answer
        finally:
            del self._calls[message_id]

    def _send(self, context: PresentationContext, command: bytes, then: bytes) -> None:
        self._reader.send(data_pdus(context.id, command, _COMMAND, self.peer_max_length) + then)

    # What comes

    def cancelled(self, request: Command) -> bool:
        """Whether a C-CANCEL for `request` has come; looks at what has arrived, without waiting."""
        while not self._reader.unread and (pdu := self._reader.arrived()) is not None:
            if pdu[0] == PduType.P_DATA_TF and not _is_cancel(pdu):
                break  # a request that came too early: it waits for its turn, and what is behind it too
            self._receive_more()
        return request.message_id in self._cancels

    def receive(self) -> None:
        """Take what the present PDU carries.

        Raises:
            InvalidPduError, MalformedCommandError, EndedError: the state machine has to act.
        """
        while self._reader.unread:
            self._receive_pdv()

    def close(self) -> None:
        """Give back what an operation holds whose data set will not come any more."""
        receiving, self._receiving, self._context = self._receiving, None, None
        if receiving is not None:
            receiving.operation.close()

    def _receive_more(self) -> None:
        if self._reader.unread:
            self._receive_pdv()
            return
        event = self._next_pdu()
        if event is not Event.P_DATA_PDU:
            raise InterruptedByPduError(event)
        self._receive_pdv()

    def _receive_pdv(self) -> None:
        reader = self._reader
        if reader.unread < 6:
            raise InvalidPduError(f"{reader.unread} bytes after the last PDV")
        length, context_id, control = reader.pdv_header()
        left = length - 2
        reader.unread -= 6
        if not 0 <= left <= reader.unread:
            raise InvalidPduError(f"a PDV of {length} bytes where {reader.unread + 2} are left")
        reader.unread -= left
        if control & _COMMAND:
            self._receive_command(context_id, control, left)
            return
        if self._receiving is None or self._context is None or context_id != self._context.id:
            raise InvalidPduError("a fragment of a data set that no command announced")
        write = self._receiving.operation.write
        while left:
            piece = reader.piece(left)
            left -= len(piece)
            write(piece)
        if control & _LAST:
            self._perform()

    def _receive_command(self, context_id: int, control: int, left: int) -> None:
        if self._context is None:
            self._context = self._agreement.contexts.get(context_id)
            if self._context is None:
                raise InvalidPduError(f"presentation context {context_id} was not accepted")
        if self._receiving is not None or context_id != self._context.id:
            raise InvalidPduError("a fragment of a command amid another message")
        if len(self._bytes) + left > COMMAND_LIMIT:
            raise MalformedCommandError(f"a command set above {COMMAND_LIMIT} bytes")
        while left:
            piece = self._reader.piece(left)
            left -= len(piece)
            self._bytes += piece
        if control & _LAST:
            command = parse(self._bytes)
            self._bytes.clear()
            self._begin(self._context, command)

    def _begin(self, context: PresentationContext, command: Command) -> None:
        if command.field == CommandField.C_CANCEL_RQ:
            self._context = None
            # Of an operation that is done already, it cancels nothing (PS3.7 section 9.3.2.3).
            self._cancels |= {command.message_id} & set(self._performing)
            return
        if command.field & RESPONSE:
            if self._calls.get(command.message_id, command) is not None:
                raise MalformedCommandError(f"response {command.field:04X}H to nothing that was asked")
            if Element.STATUS not in command.elements:
                raise MalformedCommandError("a response without a status")
            self._receiving = _Message("", _Answer(self._calls, command), None)
        else:
            self._check_turn()
            service, operation = self._services.begin(Request(self, context, command))
            self._receiving = _Message(service, operation, command)
        if not command.has_data_set:
            self._perform()

    def _check_turn(self) -> None:
        """A request may come while we wait for a response, but not before the operation in progress is answered."""
        if set(self._performing) - self._answered or len(self._performing) >= _MOST_NESTED:
            raise MalformedCommandError("a further request before the one in progress was answered")

    def _perform(self) -> None:
        assert self._receiving is not None
        message, self._receiving, self._context = self._receiving, None, None
        try:
            if message.request is None:
                message.operation.complete()
            else:
                self._do(message.service, message.operation, message.request.message_id)
        finally:
            message.operation.close()

    def _do(self, service: str, operation: Operation, message_id: int) -> None:
        self._performing.append(message_id)
        started = time.perf_counter()
        try:
            operation.complete()
        finally:
            self._performing.pop()
            self._answered.discard(message_id)
            self._cancels.discard(message_id)
        telemetry.dimse_duration(service).observe(time.perf_counter() - started)


@dataclass(frozen=True, slots=True)
class _Message:
    """A message up to the end of its data set."""

    service: str
    operation: Operation
    request: Command | None  # None: it is a response


class _Answer:
    """The response to a call, whose data set is dropped."""

    def __init__(self, calls: dict[int, Command | None], command: Command) -> None:
        self._calls = calls
        self._command = command

    def write(self, piece: memoryview) -> None:
        """Drop it."""

    def complete(self) -> None:
        """The call goes on."""
        self._calls[self._command.message_id] = self._command

    def close(self) -> None:
        """Nothing is held."""


def _is_cancel(pdu: memoryview) -> bool:
    """Whether a PDU that carries data is a whole C-CANCEL."""
    pdv = only_pdv(pdu)
    if pdv is None or pdv[0] != _COMMAND | _LAST:
        return False
    try:
        return parse(bytes(pdv[1])).field == CommandField.C_CANCEL_RQ
    except MalformedCommandError:
        return False
