"""C-GET: send instances back on the association that asked for them.

Each goes in a presentation context of its SOP class and transfer syntax for which the requestor takes the role of SCP;
what has none is a failed sub-operation, since what is stored is not converted.

Source: PS3.4 C.4.3 (C-GET Operation), C.5.3 (negotiation), PS3.7 sections 9.1.3 and D.3.3.4 (role selection).
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence

from imagerepo.dicom.identifier import Identifier
from imagerepo.dimse.identified import Identified
from imagerepo.dimse.messages import CommandField, Element, Value
from imagerepo.dimse.negotiate import PresentationContext
from imagerepo.dimse.outgoing import Outgoing
from imagerepo.dimse.query_retrieve import GET
from imagerepo.dimse.retrieval import begin, priority_of
from imagerepo.dimse.services import Exchange, Operation, Request
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
        try:
            while (version := source.take()) is not None:
                if request.cancelled():
                    replies.cancelled()
                    return
                try:
                    tally.add(version, sender.send(version))
                except (_RefusedError, DamagedError, NotFoundError) as error:
                    tally.fail(version, str(error))
                replies.pending()
        except UnavailableError as error:
            replies.broken_off(error)
            return
        replies.final()


class _RefusedError(Exception):
    """There is no presentation context for an instance."""


class _Sender:
    """Sends versions on the requestor's association."""

    def __init__(self, exchange: Exchange, priority: Priority, outgoing: Callable[[Version], Outgoing]) -> None:
        self._exchange = exchange
        self._priority = priority
        self._outgoing = outgoing
        self._contexts: Mapping[Kind, PresentationContext] = {
            (one.abstract_syntax, one.transfer_syntax): one for one in exchange.contexts.values() if one.roles.scp
        }

    def send(self, version: Version) -> Sent:
        context = self._contexts.get((version.sop_class_uid, version.transfer_syntax))
        if context is None:
            raise _RefusedError(f"no context (as SCP) for {version.sop_class_uid} in {version.transfer_syntax}")
        command: dict[Element, Value] = {
            Element.AFFECTED_SOP_CLASS_UID: version.sop_class_uid,
            Element.COMMAND_FIELD: CommandField.C_STORE_RQ,
            Element.PRIORITY: self._priority,
            Element.AFFECTED_SOP_INSTANCE_UID: version.instance_uid,
        }
        begun = _Begun(self._outgoing(version), context.id, self._exchange.peer_max_length)
        answer = self._exchange.call(context, command, begun)
        return Sent(answer.number(Element.STATUS) or 0, answer.text(Element.ERROR_COMMENT))


class _Begun:
    """A data set whose first bytes are read: if they cannot be, that is known before anything is sent."""

    def __init__(self, data: Outgoing, context_id: int, max_length: int) -> None:
        self._fragments = data.fragments(context_id, max_length)
        self._first = next(self._fragments)

    def fragments(self, context_id: int, max_length: int) -> Iterator[Sequence[Buffer]]:
        """As of the data set; context and length are those that it was begun with."""
        del context_id, max_length
        yield self._first
        try:
            yield from self._fragments
        except (DamagedError, NotFoundError) as error:
            log.exception("dimse.retrieve.broken_off")
            raise BrokenOffError(str(error)) from error
