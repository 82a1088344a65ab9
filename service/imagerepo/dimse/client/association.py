"""One association that we opened: requests and their responses, and what the peer asks of us meanwhile.

Belongs to one thread at a time, except for `stop`. Whatever goes wrong ends the association and is one PeerError,
whose message names the peer, what was being done and what to do.

Source: PS3.8 section 7 (services) and Table 9-10 (the requestor's column), PS3.7 section 9 (DIMSE-C), Annex D.
"""

import socket
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from imagerepo.dimse.associate import AnsweredContext, ProposedContext, Role
from imagerepo.dimse.client import failures
from imagerepo.dimse.client.channel import AbortedError, Channel, ReleasedError
from imagerepo.dimse.client.conversation import Answer, Conversation, Service
from imagerepo.dimse.client.dial import Dialled, connect
from imagerepo.dimse.client.negotiation import Accepted, Proposal, parse_accept
from imagerepo.dimse.messages import (
    DATA_SET,
    NO_DATA_SET,
    RESPONSE,
    Command,
    CommandField,
    Element,
    MalformedCommandError,
    Value,
    encode,
    response,
)
from imagerepo.dimse.negotiate import PresentationContext
from imagerepo.dimse.pdu import Framing, InvalidPduError, PduReader, PduType
from imagerepo.dimse.tls import HandshakeError
from imagerepo.dimse.transport import EndedError, SilenceError, TransportClosedError
from imagerepo.errors import PeerError
from imagerepo.model.peer import Peer

if TYPE_CHECKING:
    from imagerepo.dimse.outgoing import Outgoing

_MESSAGE_IDS: Final = 0xFFFF
_RELEASED_WITHIN: Final = 5.0  # seconds that the peer has to agree to a release


class Connection:
    """An open association. Leaving the context releases it, or aborts it after an error."""

    def __init__(self, peer: Peer, dialled: Dialled, channel: Channel, accepted: Accepted) -> None:
        """Take over what `open` has established."""
        self._peer = peer
        self._dialled = dialled
        self._channel = channel
        self._accepted = accepted
        self._message_id = 0
        self._conversation: Conversation | None = None
        self._open = True
        self._stopped = False
        self._closing = threading.Lock()  # a socket that is closed may be another's by the time it is shut down

    @classmethod
    def open(
        cls,
        peer: Peer,
        calling_ae_title: str,
        contexts: Sequence[ProposedContext],
        *,
        roles: Sequence[Role] = (),
        extended: Sequence[tuple[str, bytes]] = (),
    ) -> Self:
        """Connect and establish an association.

        Args:
            peer: whom to.
            calling_ae_title: our AE title, unless the peer is to be called by another.
            contexts: presentation contexts, from negotiation.propose.
            roles: roles other than the default, by SOP class (PS3.7 D.3.3.4).
            extended: SOP class extended negotiation (PS3.7 D.3.3.5).

        Raises:
            PeerError: it is unreachable, rejects, is silent or no DICOM node. That it accepts no context is no error.
        """
        calling = peer.calling_ae_title or calling_ae_title
        proposal = Proposal(peer.ae_title, calling, tuple(contexts), peer.max_pdu, tuple(roles), tuple(extended))
        dialled = connect(peer)
        try:
            reader = PduReader(dialled.transport, peer.response_timeout)
            accepted = _associate(peer, reader, proposal)
        except BaseException:
            dialled.close()
            raise
        return cls(peer, dialled, Channel(reader, accepted, peer.max_pdu, peer.response_timeout), accepted)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            # What was to be done is done: a peer that ends badly takes nothing back.
            with suppress(PeerError):
                self.release()
        self.abort()

    @property
    def peer(self) -> Peer:
        """Whom it is with."""
        return self._peer

    @property
    def is_open(self) -> bool:
        """Whether requests can still be sent, as far as is known."""
        return self._open

    @property
    def accepted(self) -> Mapping[int, PresentationContext]:
        """The accepted presentation contexts, by ID."""
        return self._accepted.contexts

    @property
    def answers(self) -> Mapping[int, AnsweredContext]:
        """What became of each proposed context, by ID."""
        return self._accepted.answers

    def framing(self, context: PresentationContext) -> Framing:
        """How data sets are sent in a context."""
        return self._channel.framing(context)

    @property
    def implementation(self) -> str:
        """What the peer says it is: its implementation version name, or class UID."""
        user = self._accepted.user
        return user.implementation_version.strip("\0 ") or user.implementation_class_uid

    def context_for(self, abstract_syntax: str) -> PresentationContext:
        """The accepted context of a SOP class, the first one. Raises PeerError (REFUSED)."""
        for context in self.accepted.values():
            if context.abstract_syntax == abstract_syntax:
                return context
        raise failures.refused(self._peer, f"SOP class {abstract_syntax}", next(iter(self.answers.values()), None))

    def call(
        self,
        context: PresentationContext,
        command: Mapping[Element, Value],
        data: "Outgoing | None" = None,
        service: Service | None = None,
    ) -> Command:
        """Send a request and wait for its response; see `calls`.

        Raises:
            PeerError: the peer, or the network, did not do its part; the association is over.
        """
        *_, answer = self.calls(context, command, data, service)
        return answer.command

    def calls(
        self,
        context: PresentationContext,
        command: Mapping[Element, Value],
        data: "Outgoing | None" = None,
        service: Service | None = None,
    ) -> Conversation:
        """Send a request whose responses come one by one: C-FIND, C-MOVE, C-GET.

        Args:
            context: an accepted one.
            command: the request's elements, without Message ID and Command Data Set Type.
            data: its data set.
            service: does what the peer asks for meanwhile; None: it may ask for nothing.

        Raises:
            PeerError: as for `call`; iterating raises it likewise.
        """
        pending = self._open and self._conversation is not None and not self._conversation.over
        assert not pending, "the request before this one is not answered yet"
        message_id = self._message_id = self._message_id % _MESSAGE_IDS + 1
        name = _name(command.get(Element.COMMAND_FIELD))
        values = {
            **command,
            Element.MESSAGE_ID: message_id,
            Element.DATA_SET_TYPE: NO_DATA_SET if data is None else DATA_SET,
        }
        with self._telling(f"while a {name} was sent to it"):
            self._channel.send(context, encode(values), data)
        self._conversation = Conversation(self, context, message_id, name, service)
        return self._conversation

    def serve(self, service: Service) -> None:
        """Wait for one request of the peer's, do it and respond. Raises PeerError."""
        with self._telling("while a request from it was waited for"):
            context, command = self._channel.receive_command()
            self._serve(context, command, service)

    def receive_answer(self, message_id: int, doing: str, service: Service | None) -> Answer:
        """The next response to a request, for its Conversation. Raises PeerError."""
        with self._telling(doing):
            while True:
                context, command = self._channel.receive_command()
                if command.field & RESPONSE:
                    return self._answer(context, command, message_id)
                if service is None or command.field == CommandField.C_CANCEL_RQ:
                    raise MalformedCommandError(f"request {command.field:04X}H where a response was due")
                self._serve(context, command, service)

    def cancel(self, context: PresentationContext, message_id: int) -> None:
        """Ask the peer to end a request, for its Conversation (PS3.7 section 9.3.2.3). Raises PeerError."""
        values: dict[Element, Value] = {
            Element.COMMAND_FIELD: CommandField.C_CANCEL_RQ,
            Element.MESSAGE_ID_RESPONDED_TO: message_id,
            Element.DATA_SET_TYPE: NO_DATA_SET,
        }
        with self._telling("while a C-CANCEL was sent to it"):
            self._channel.send(context, encode(values))

    def release(self) -> None:
        """End the association in order; does nothing if it is over. Raises PeerError."""
        if not self._open:
            return
        with self._telling("while the association was released"):
            self._channel.release(min(_RELEASED_WITHIN, self._peer.response_timeout))
        self._close()

    def abort(self) -> None:
        """End the association at once; does nothing if it is over."""
        if not self._open:
            return
        with suppress(EndedError):
            self._dialled.hurry()
            self._channel.abort()
        self._close()

    def stop(self) -> None:
        """End the connection below the thread that uses it, which gets a PeerError. May be called by any thread."""
        with self._closing:
            self._stopped = True
            if self._open:
                # Both ways: the thread may wait for a peer that takes nothing, as for one that says nothing.
                with suppress(OSError):  # closed by the peer meanwhile: that wakes the thread as well
                    self._dialled.socket.shutdown(socket.SHUT_RDWR)

    def _close(self) -> None:
        with self._closing:
            self._open = False
        self._dialled.close()

    def _serve(self, context: PresentationContext, command: Command, service: Service) -> None:
        served = service(context, command)
        try:
            if command.has_data_set:
                self._channel.receive_data(context, served.write)
            status = served.complete()
        finally:
            served.close()
        self._channel.send(context, response(command, status))

    def _answer(self, context: PresentationContext, command: Command, message_id: int) -> Answer:
        data = self._channel.gather_data(context) if command.has_data_set else b""
        if command.message_id != message_id:
            raise MalformedCommandError(f"a response to message {command.message_id} instead of {message_id}")
        status = command.number(Element.STATUS)
        if status is None:
            raise MalformedCommandError("a response without a status")
        return Answer(command, status, data)

    @contextmanager
    def _telling(self, doing: str) -> Generator[None]:
        """Turn what goes wrong into a PeerError, and end the association."""
        if not self._open:
            raise failures.lost(self._peer, doing, "it was ended before")
        try:
            yield
        except EndedError as error:
            ended = self._ended(error, doing)
            self._close()
            try:
                raise ended from error
            finally:
                del ended  # or the error, its traceback and what was being sent would hold each other
        except (InvalidPduError, MalformedCommandError) as error:
            self.abort()
            raise failures.malformed(self._peer, doing, str(error)) from error
        except BaseException:
            self.abort()  # ours: bytes that cannot be read, or somebody's Ctrl-C
            raise

    def _ended(self, error: EndedError, doing: str) -> PeerError:
        peer = self._peer
        if self._stopped:
            return failures.lost(peer, doing, "it was stopped from here")
        if isinstance(error, SilenceError):
            self.abort()
            return failures.silent(peer, doing, peer.response_timeout)
        if isinstance(error, ReleasedError):
            return failures.released(peer, doing)
        if isinstance(error, HandshakeError):
            return failures.tls(peer, str(error))
        body = error.body if isinstance(error, AbortedError) else self._channel.last_word()
        return failures.lost(peer, doing, str(error)) if body is None else failures.aborted(peer, doing, body)


def _name(field: Value | None) -> str:
    """What a request is called in sentences."""
    return CommandField(field).name.removesuffix("_RQ").replace("_", "-") if isinstance(field, int) else "request"


def _check_short(kind: int, length: int) -> None:
    if length != 4:
        raise InvalidPduError(f"a PDU of type {kind:02X}H with {length} bytes instead of 4")


def _associate(peer: Peer, reader: PduReader, proposal: Proposal) -> Accepted:
    """Ask for the association and read the answer (PS3.8 section 7.1). Raises PeerError."""
    doing = "while an answer to the association request was waited for"
    try:
        reader.set_deadline(peer.connect_timeout)
        reader.send(proposal.encode())
        kind, length = reader.header()
        if kind not in {PduType.ASSOCIATE_AC, PduType.ASSOCIATE_RJ, PduType.ABORT}:
            raise failures.not_dicom(peer, kind)
        body = reader.body(length)
        if kind == PduType.ASSOCIATE_AC:
            accepted = parse_accept(body, proposal)
            reader.set_deadline(None)
            return accepted
        _check_short(kind, length)
    except HandshakeError as error:
        raise failures.tls(peer, str(error)) from error
    except SilenceError as error:
        raise failures.silent(peer, doing, peer.connect_timeout) from error
    except TransportClosedError as error:
        raise failures.lost(peer, doing, f"{error}; is it a DICOM port?") from error
    except InvalidPduError as error:
        raise failures.malformed(peer, doing, str(error)) from error
    if kind == PduType.ASSOCIATE_RJ:
        raise failures.rejected(peer, proposal.calling, bytes(body))
    raise failures.aborted(peer, doing, bytes(body))
