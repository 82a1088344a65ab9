"""C-GET: send instances back on the association that asked for them.

Each goes in a presentation context of its SOP class and transfer syntax for which the requestor takes the role of SCP;
what has none is a failed sub-operation, since what is stored is not converted.

Source: PS3.4 C.4.3 (C-GET Operation), C.5.3 (negotiation), PS3.7 sections 9.1.3 and D.3.3.4 (role selection).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from imagerepo.dicom.identifier import Identifier
from imagerepo.dimse.identified import Identified
from imagerepo.dimse.messages import CommandField, Element, Value
from imagerepo.dimse.negotiate import PresentationContext
from imagerepo.dimse.outgoing import Begun, Outgoing
from imagerepo.dimse.pdu import Framing
from imagerepo.dimse.query_retrieve import GET
from imagerepo.dimse.retrieval import begin, priority_of
from imagerepo.dimse.services import Exchange, Operation, Request
from imagerepo.dimse.suboperations import Source
from imagerepo.dimse.transport import EndedError
from imagerepo.errors import DamagedError, NotFoundError, UnavailableError
from imagerepo.flows.repository import Repository
from imagerepo.model.arrival import Buffer
from imagerepo.model.instance import Version
from imagerepo.ports.peers import Kind, Priority, Sent

log = logging.getLogger(__name__)


class BrokenOffError(EndedError):
    """Amid a data set the rest of it turned out not to be readable: the association cannot go on."""


class Get:
    """The service of all Query/Retrieve models."""

    def __init__(self, repository: Repository, outgoing: Callable[[Version], Outgoing]) -> None:
        """`outgoing` reads a version's data set."""
        self._repository = repository
        self._outgoing = outgoing

    def __call__(self, request: Request) -> Operation:
        """The operation of one request."""
        return Identified(request, self._get)

    def _get(self, request: Request, identifier: Identifier) -> None:
        retrieval = begin(self._repository, request, identifier, GET[request.context.abstract_syntax])
        if retrieval is None:
            return
        source, tally, replies = retrieval.source, retrieval.tally, retrieval.replies
        sender = _Sender(request.exchange, priority_of(request), self._outgoing)
        ahead = _Ahead(source, sender)
        try:
            while (ready := ahead.take()) is not None:
                if request.cancelled():
                    replies.cancelled()
                    return
                if ready.problem is None:
                    tally.add(ready.version, sender.send(ready, ahead.look))
                else:
                    tally.fail(ready.version, ready.problem)
                replies.pending()
        except UnavailableError as error:
            replies.broken_off(error)
            return
        replies.final()


@dataclass(frozen=True, slots=True)
class _Ready:
    """An instance whose first bytes are read, or why they cannot be sent."""

    version: Version
    context: PresentationContext | None = None
    data: "_Begun | None" = None
    problem: str | None = None


class _Sender:
    """Sends versions on the requestor's association."""

    def __init__(self, exchange: Exchange, priority: Priority, outgoing: Callable[[Version], Outgoing]) -> None:
        self._exchange = exchange
        self._priority = priority
        self._outgoing = outgoing
        self._contexts: Mapping[Kind, PresentationContext] = {
            (one.abstract_syntax, one.transfer_syntax): one for one in exchange.contexts.values() if one.roles.scp
        }

    def prepare(self, version: Version) -> _Ready:
        context = self._contexts.get((version.sop_class_uid, version.transfer_syntax))
        if context is None:
            why = f"no SCP context in {version.transfer_syntax} for {version.sop_class_uid}"
            return _Ready(version, problem=why)
        try:
            data = _Begun(self._outgoing(version), self._exchange.framing(context))
        except (DamagedError, NotFoundError) as error:
            return _Ready(version, problem=str(error))
        return _Ready(version, context, data)

    def send(self, ready: _Ready, meanwhile: Callable[[], object]) -> Sent:
        assert ready.context is not None
        command: dict[Element, Value] = {
            Element.AFFECTED_SOP_CLASS_UID: ready.version.sop_class_uid,
            Element.COMMAND_FIELD: CommandField.C_STORE_RQ,
            Element.PRIORITY: self._priority,
            Element.AFFECTED_SOP_INSTANCE_UID: ready.version.instance_uid,
        }
        try:
            answer = self._exchange.call(ready.context, command, ready.data, meanwhile)
        except DamagedError as error:
            raise _broken_off(error) from error
        return Sent(answer.number(Element.STATUS) or 0, answer.text(Element.ERROR_COMMENT))


class _Ahead:
    """What is sent next, read while the response to the one before is on its way."""

    def __init__(self, source: Source, sender: _Sender) -> None:
        self._source = source
        self._sender = sender
        self._next: _Ready | None = None
        self._error: UnavailableError | None = None

    def look(self) -> None:
        """Have the next one ready; raises nothing."""
        try:
            version = self._source.take()
            self._next = None if version is None else self._sender.prepare(version)
        except UnavailableError as error:
            self._error = error

    def take(self) -> _Ready | None:
        """The next one; None: there are no more. Raises UnavailableError."""
        if self._next is None and self._error is None:
            self.look()
        if self._error is not None:
            raise self._error
        ready, self._next = self._next, None
        return ready


class _Begun(Begun):
    """If the first bytes cannot be read, that is known before anything is sent; further ones end the association."""

    def fragments(self, framing: Framing) -> Iterator[Sequence[Buffer]]:
        """As of the data set."""
        try:
            yield from super().fragments(framing)
        except (DamagedError, NotFoundError) as error:
            raise _broken_off(error) from error


def _broken_off(error: DamagedError | NotFoundError) -> BrokenOffError:
    log.error("dimse.retrieve.broken_off", extra={"reason": str(error)})
    return BrokenOffError(str(error))
