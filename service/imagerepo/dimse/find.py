"""C-FIND: search for patients, studies, series and instances.

Responses leave as the index gives its pages: never more than one page is in memory, and every few of them, and
with each page in which nothing matched, it is looked whether the requestor has cancelled or gone.

Source: PS3.4 C.4.1 (C-FIND Operation), Table C.4-1 (statuses); PS3.7 sections 9.1.2 and 9.3.2.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from imagerepo.dicom.identifier import Identifier
from imagerepo.dimse import find_query
from imagerepo.dimse.find_answers import Answers
from imagerepo.dimse.identified import Identified
from imagerepo.dimse.messages import Status
from imagerepo.dimse.query_retrieve import FIND
from imagerepo.dimse.services import Operation, Request
from imagerepo.flows.repository import Repository
from imagerepo.model.query import Found

_AT_ONCE: Final = 100  # answers written with one call


class Find:
    """The service of all Query/Retrieve models."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._most = repository.settings.dimse.max_find_results

    def __call__(self, request: Request) -> Operation:
        """The operation of one request."""
        return Identified(request, self._find)

    def _find(self, request: Request, identifier: Identifier) -> None:
        exchange, context = request.exchange, request.context
        search = self._repository.search
        asked = find_query.read(
            identifier,
            FIND[context.abstract_syntax],
            context.extended,
            exchange.caller.institution,
            self._most + 1,
            search.optional,
        )
        self._repository.blocking_audit.query(exchange.caller, asked.text)
        answers = Answers(
            asked.query.level,
            asked.keys,
            asked.selected,
            context.transfer_syntax,
            identifier.charset,
            exchange.called_ae_title,
        )
        pending = Status.PENDING_WITH_WARNING if asked.unsupported else Status.PENDING
        left = self._most
        for found in _together(search.pages(asked.query)):
            if request.cancelled():
                request.respond(Status.CANCEL)
                return
            if found:
                request.respond_each(pending, [answers.encode(one) for one in found[:left]])
            if len(found) > left:
                request.respond(Status.LIMIT_REACHED, f"more than {self._most} match (dimse.max_find_results)")
                return
            left -= len(found)
        request.respond(Status.SUCCESS)


def _together(pages: Iterator[Sequence[Found]]) -> Iterator[Sequence[Found]]:
    """What is sent with one call, so that a cancel is seen soon; nothing of a page that is empty."""
    for page in pages:
        for start in range(0, max(1, len(page)), _AT_ONCE):
            yield page[start : start + _AT_ONCE]
