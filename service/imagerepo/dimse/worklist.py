"""Modality Worklist: C-FIND of scheduled procedure steps.

Source: PS3.4 Annex K: K.4.1 (C-FIND Operation), K.6.1.2 (Attributes of the information model).
"""

from collections.abc import Iterator, Mapping
from typing import Final

from imagerepo.dicom import attributes
from imagerepo.dicom.data_set_writer import SPECIFIC_CHARACTER_SET, encode_data_set
from imagerepo.dicom.identifier import Identifier
from imagerepo.dimse.find_answers import select
from imagerepo.dimse.find_query import match_of_key
from imagerepo.dimse.identified import Identified
from imagerepo.dimse.messages import Status
from imagerepo.dimse.services import Operation, Request
from imagerepo.flows.repository import Repository
from imagerepo.model.header import Attribute, Header
from imagerepo.model.query import Match, Path

MODALITY_WORKLIST: Final = "1.2.840.10008.5.1.4.31"


class FindWorklist:
    """The service."""

    def __init__(self, repository: Repository) -> None:
        self._worklist = repository.worklist
        self._most = repository.settings.dimse.max_find_results

    def __call__(self, request: Request) -> Operation:
        """The operation of one request."""
        return Identified(request, self._find)

    def _find(self, request: Request, identifier: Identifier) -> None:
        wanted = {tag: one for tag, one in identifier.attributes.items() if tag != SPECIFIC_CHARACTER_SET}
        keys = list(_matches(wanted, ()))
        left = self._most
        for page in self._worklist.find(request.exchange.caller, keys, _text(keys)):
            if request.cancelled():  # asked though nothing matched: so it is seen that nobody waits any more
                request.respond(Status.CANCEL)
                return
            for content in page:
                if not left:
                    request.respond(Status.LIMIT_REACHED, f"more than {self._most} match (dimse.max_find_results)")
                    return
                left -= 1
                answer = {tag: select(content.get(tag, Attribute(one.vr)), one) for tag, one in wanted.items()}
                data_set = encode_data_set(answer, request.context.transfer_syntax, identifier.charset)
                request.respond(Status.PENDING, data_set=data_set)
        request.respond(Status.SUCCESS)


def _matches(wanted: Header, above: Path) -> Iterator[tuple[Path, Match]]:
    for tag, one in wanted.items():
        path = (*above, tag)
        if one.vr == "SQ":
            for item in one.values[:1]:
                if isinstance(item, Mapping):
                    yield from _matches(item, path)
        elif match := match_of_key(tag, one):
            yield path, match


def _text(keys: list[tuple[Path, Match]]) -> str:
    """The query as the journal keeps it."""
    shown = (f"{'.'.join(attributes.keyword(tag) or tag for tag in path)}={match}" for path, match in keys)
    return " ".join(("C-FIND MWL", *shown))
