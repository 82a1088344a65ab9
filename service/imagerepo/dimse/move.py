"""C-MOVE: send instances to another application entity, and tell the requestor how far it is.

Sub-operations are done by threads of their own (delivery.py), so that a destination that stalls keeps nobody from
telling the requestor, nor from seeing that it has cancelled or gone.

Source: PS3.4 C.4.2 (C-MOVE Operation), Table C.4-2 (statuses); PS3.7 sections 9.1.4 and 9.3.4.
"""

import threading
from functools import partial
from typing import Final

from imagerepo.dicom.identifier import Identifier
from imagerepo.dimse.client.storing import DimsePeers
from imagerepo.dimse.delivery import Delivery, Limits
from imagerepo.dimse.identified import Identified
from imagerepo.dimse.messages import Element, Status
from imagerepo.dimse.query_retrieve import MOVE
from imagerepo.dimse.retrieval import Retrieval, begin, priority_of
from imagerepo.dimse.services import Operation, Request
from imagerepo.errors import NotFoundError, UnavailableError
from imagerepo.flows.repository import Repository
from imagerepo.ports.peers import Originator

_LOOK: Final = 0.1  # seconds between looks at what the requestor has sent
_AT_ONCE: Final = 64  # threads that send, of all retrievals of a process; each has an association
_LAST: Final = 5.0  # seconds that sub-operations under way have after a C-CANCEL, until it is answered


class Move:
    """The service of all Query/Retrieve models; there is one in a process."""

    def __init__(self, repository: Repository, peers: DimsePeers) -> None:
        """`peers` opens associations to destinations."""
        self._repository = repository
        self._peers = peers
        self._places = threading.BoundedSemaphore(_AT_ONCE)

    def __call__(self, request: Request) -> Operation:
        """The operation of one request."""
        return Identified(request, self._move)

    def _move(self, request: Request, identifier: Identifier) -> None:
        named = request.command.text(Element.MOVE_DESTINATION)
        try:
            peer = self._repository.nodes.destination(named, request.exchange.caller.institution)
        except NotFoundError as error:
            request.respond(Status.MOVE_DESTINATION_UNKNOWN, str(error))
            return
        retrieval = begin(self._repository, request, identifier, MOVE[request.context.abstract_syntax])
        if retrieval is None:
            return
        open_way = partial(
            self._peers.sending,
            peer,
            self._repository.nodes.calling(request.exchange.caller.institution),
            retrieval.source.kinds,
            originator=Originator(request.exchange.calling_ae_title, request.command.message_id),
            priority=priority_of(request),
        )
        retries = self._repository.settings.dimse.move_retries
        limits = Limits(min(peer.associations, max(retrieval.count, 1)), retries)
        delivery = Delivery(retrieval.source, retrieval.tally, open_way, limits, self._places)
        try:
            delivery.start()
            self._attend(retrieval, delivery)
        except UnavailableError as error:
            retrieval.replies.broken_off(error)
        finally:
            delivery.stop()

    def _attend(self, retrieval: Retrieval, delivery: Delivery) -> None:
        """Tell the requestor how far it is, up to the end."""
        request, replies = retrieval.request, retrieval.replies
        while not delivery.ended(_LOOK):
            if request.cancelled():
                delivery.finish()
                delivery.ended(_LAST)
                replies.cancelled()
                return
            replies.pending()
        if delivery.error is not None:
            replies.broken_off(delivery.error)
            return
        delivery.settle()
        replies.final()
