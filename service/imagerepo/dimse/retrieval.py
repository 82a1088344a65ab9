"""What C-MOVE and C-GET have in common: from the identifier to the sub-operations.

Source: PS3.4 C.4.2.2 and C.4.3.2 (SCU behavior), C.4.2.3 and C.4.3.3 (SCP behavior).
"""

from dataclasses import dataclass

from imagerepo.dicom.identifier import Identifier
from imagerepo.dimse.messages import Element, Status
from imagerepo.dimse.query_retrieve import Model
from imagerepo.dimse.selection import query_of, select
from imagerepo.dimse.services import Request
from imagerepo.dimse.suboperations import Replies, Source, Tally
from imagerepo.errors import TooLargeError, UnavailableError
from imagerepo.flows.repository import Repository
from imagerepo.ports.peers import Priority

_PRIORITIES = {int(one): one for one in Priority}


@dataclass(frozen=True, slots=True)
class Retrieval:
    """One retrieval under way."""

    request: Request
    count: int  # sub-operations
    tally: Tally
    source: Source
    replies: Replies


def begin(repository: Repository, request: Request, identifier: Identifier, model: Model) -> Retrieval | None:
    """Find what is to be sent.

    Returns:
        None: that could not be found out, and was responded.

    Raises:
        IdentifierError: level or unique keys are not as they have to be.
    """
    caller = request.exchange.caller
    query = query_of(identifier, model, request.context.extended, caller.institution)
    try:
        selection = select(repository.search, query)
        tally = Tally(selection.count)
        source = Source(repository, caller, selection, tally)
    except (UnavailableError, TooLargeError) as error:
        request.respond(Status.CANNOT_COUNT_MATCHES, str(error))
        return None
    replies = Replies(request, tally, repository.settings.dimse.pending_interval)
    return Retrieval(request, selection.count, tally, source, replies)


def priority_of(request: Request) -> Priority:
    """The priority that a request asks for, which its sub-operations have too; what is none is medium."""
    return _PRIORITIES.get(request.command.number(Element.PRIORITY) or 0, Priority.MEDIUM)
