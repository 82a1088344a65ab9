"""What Storage Commitment says on the wire, and saying it over an association of our own.

The performer of the service opens the association, and so takes the role of SCP by negotiation.

Source: PS3.4 Annex J.3.3 (N-EVENT-REPORT), Table J.3-2 (Event Information); PS3.7 D.3.3.4 (role selection).
"""

from collections.abc import Iterable, Mapping
from typing import Final

from imagerepo.dicom.data_set_writer import encode_data_set
from imagerepo.dimse.associate import Role
from imagerepo.dimse.client.association import Connection
from imagerepo.dimse.client.data import Bytes
from imagerepo.dimse.client.negotiation import propose
from imagerepo.dimse.messages import CommandField, Element, Value
from imagerepo.model.commitment import Reference, Report
from imagerepo.model.header import Attribute, Header
from imagerepo.model.peer import Peer

SOP_CLASS: Final = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model."""
SOP_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""The one instance that there is of it (PS3.4 J.3.5)."""

TRANSACTION_UID: Final = "00081195"
REFERENCED_SOP_SEQUENCE: Final = "00081199"
SOP_CLASS_UID: Final = "00081150"
SOP_INSTANCE_UID: Final = "00081155"
_FAILED_SOP_SEQUENCE: Final = "00081198"
_FAILURE_REASON: Final = "00081197"

_ALL_COMMITTED, _SOME_FAILED = 1, 2  # event types
_SYNTAXES: Final = ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2")


def event(report: Report) -> Mapping[Element, Value]:
    """The command of a report."""
    return {
        Element.COMMAND_FIELD: CommandField.N_EVENT_REPORT_RQ,
        Element.AFFECTED_SOP_CLASS_UID: SOP_CLASS,
        Element.AFFECTED_SOP_INSTANCE_UID: SOP_INSTANCE,
        Element.EVENT_TYPE_ID: _SOME_FAILED if report.failed else _ALL_COMMITTED,
    }


def event_information(report: Report, transfer_syntax: str) -> Bytes:
    """Its data set."""
    attributes: dict[str, Attribute] = {TRANSACTION_UID: Attribute("UI", (report.transaction_uid,))}
    if report.committed:
        attributes[REFERENCED_SOP_SEQUENCE] = _sequence(_item(one) for one in report.committed)
    if report.failed:
        attributes[_FAILED_SOP_SEQUENCE] = _sequence(
            {**_item(one), _FAILURE_REASON: Attribute("US", (failure.value,))} for one, failure in report.failed
        )
    return Bytes(encode_data_set(attributes, transfer_syntax))


def _sequence(items: Iterable[Header]) -> Attribute:
    return Attribute("SQ", tuple(items))


def _item(reference: Reference) -> Header:
    return {
        SOP_CLASS_UID: Attribute("UI", (reference.sop_class_uid,)),
        SOP_INSTANCE_UID: Attribute("UI", (reference.instance_uid,)),
    }


class DimseReporters:
    """Reports over DIMSE: ports.reporters.Reporters."""

    def report(self, peer: Peer, calling_ae_title: str, report: Report) -> int:
        """Tell `peer`; see ports.reporters.Reporters."""
        contexts = propose([(SOP_CLASS, _SYNTAXES)])
        roles = [Role(SOP_CLASS, scu=False, scp=True)]
        with Connection.open(peer, calling_ae_title, contexts, roles=roles) as connection:
            context = connection.context_for(SOP_CLASS)
            answer = connection.call(context, event(report), event_information(report, context.transfer_syntax))
            return answer.number(Element.STATUS) or 0
