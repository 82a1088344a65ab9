"""Storage Commitment, push model: take N-ACTION, report by N-EVENT-REPORT.

Whoever is a node is called for the report; whoever is not hears it on the association that it has opened, right
behind the response.

Source: PS3.4 Annex J.3.2 (N-ACTION), J.3.3 (N-EVENT-REPORT); PS3.7 sections 10.1.1 and 10.1.4, Annex C.
"""

import logging
from typing import Final

from imagerepo.dicom.identifier import Identifier
from imagerepo.dimse.commitment_report import (
    REFERENCED_SOP_SEQUENCE,
    SOP_CLASS_UID,
    SOP_INSTANCE,
    SOP_INSTANCE_UID,
    TRANSACTION_UID,
    event,
    event_information,
)
from imagerepo.dimse.identified import Identified
from imagerepo.dimse.messages import Element, Status
from imagerepo.dimse.services import Operation, Refusal, Request
from imagerepo.errors import UnavailableError
from imagerepo.flows.commitment import Commitments
from imagerepo.model.commitment import Reference, Transaction
from imagerepo.model.header import Header
from imagerepo.model.uids import Uid, is_uid

log = logging.getLogger(__name__)

_REQUEST_COMMITMENT: Final = 1  # the one action type there is (PS3.4 Table J.3-1)


class CommitmentService:
    """The service of Storage Commitment."""

    def __init__(self, commitments: Commitments) -> None:
        self._commitments = commitments

    def __call__(self, request: Request) -> Operation:
        """The operation of one N-ACTION."""
        command = request.command
        if command.text(Element.REQUESTED_SOP_INSTANCE_UID) != SOP_INSTANCE:
            return Refusal(request, Status.NO_SUCH_SOP_INSTANCE, f"the instance is {SOP_INSTANCE}, always")
        if command.number(Element.ACTION_TYPE_ID) != _REQUEST_COMMITMENT:
            return Refusal(request, Status.NO_SUCH_ACTION, "the action type is 1: request storage commitment")
        return Identified(request, self._act)

    def _act(self, request: Request, identifier: Identifier) -> None:
        exchange = request.exchange
        transaction = _read(request, identifier)
        if transaction is None:
            return
        institution, ae_title = exchange.caller.institution, exchange.calling_ae_title
        try:
            self._commitments.take(exchange.caller, ae_title, exchange.called_ae_title, transaction)
        except UnavailableError as error:
            request.respond(Status.RESOURCE_LIMITATION, str(error))
            return
        request.respond(Status.SUCCESS, elements={Element.ACTION_TYPE_ID: _REQUEST_COMMITMENT})
        if self._commitments.calls(ae_title, institution):
            return
        # Asked only to learn that the requestor has gone or that we are to stop, which is raised: the task stays.
        report = self._commitments.inspect(institution, transaction, request.cancelled)
        data = event_information(report, request.context.transfer_syntax)
        answer = exchange.call(request.context, event(report), data)
        status = answer.number(Element.STATUS) or 0
        if status:
            log.warning("commitment.report_refused", extra={"status": f"{status:04X}"})
            return
        try:
            self._commitments.reported(institution, ae_title, transaction)
        except UnavailableError as error:
            log.warning("commitment.reported_again", extra={"reason": str(error)})


def _read(request: Request, identifier: Identifier) -> Transaction | None:
    """What is asked; None: it was refused, and answered so."""
    uid = identifier.text(TRANSACTION_UID)
    sequence = identifier.attributes.get(REFERENCED_SOP_SEQUENCE)
    if not uid or sequence is None:
        missing = "Transaction UID (0008,1195)" if not uid else "Referenced SOP Sequence (0008,1199)"
        request.respond(Status.MISSING_ATTRIBUTE, f"{missing} is missing")
        return None
    items = [one for one in sequence.values if not isinstance(one, str | int | float)]
    references = [Reference(Uid(_text(item, SOP_CLASS_UID)), Uid(_text(item, SOP_INSTANCE_UID))) for item in items]
    if not references or not all(map(is_uid, (uid, *(one.instance_uid for one in references)))):
        request.respond(Status.INVALID_ARGUMENT, "each instance and the transaction need a UID")
        return None
    return Transaction(Uid(uid), references)


def _text(item: Header, tag: str) -> str:
    attribute = item.get(tag)
    return str(attribute.values[0]) if attribute is not None and attribute.values else ""
