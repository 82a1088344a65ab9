"""What we agree to: presentation contexts and the sub-items about roles and windows.

Instances are stored as received, so the requestor's order decides: of the transfer syntaxes it proposes the
first that we know is accepted.

Source: PS3.8 section 7.1.1, PS3.7 Annex D.3; PS3.4 Annex B (Storage Service Class).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from imagerepo.dicom.part10 import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from imagerepo.dimse.associate import (
    AnsweredContext,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    Role,
    UserInformation,
)
from imagerepo.settings import Dimse

VERIFICATION: Final = "1.2.840.10008.1.1"

# Not encodings of a data set, or not of one that a Part 10 file can hold (PS3.6 Table A-1; all retired).
_NOT_FOR_DATA_SETS: Final = frozenset(
    {
        "1.2.840.10008.1.2.6.1",  # RFC 2557 MIME encapsulation
        "1.2.840.10008.1.2.6.2",  # XML Encoding
        "1.2.840.10008.1.20",  # Papyrus 3
    }
)
# They have no study to be found under: the Non-Patient Object Storage Service Class (PS3.4 Annex GG) is another one.
_NAMES_WITHOUT_PATIENT: Final = (
    "Color Palette",
    "Hanging Protocol",
    "Implant",
    "Defined Procedure Protocol",
    "Protocol Approval",
    "Inventory",
)
# Names with "Storage" in them that nothing is sent under with C-STORE.
_NAMES_OF_OTHER_SERVICES: Final = ("Storage Commitment", "Media Storage Directory", "Storage Management")


@cache
def storage_sop_classes() -> frozenset[str]:
    """Every SOP class of the Storage Service Class, retired ones and DICOS's too."""
    # On first use: both tables are large, and only the DIMSE processes need them.
    from pydicom._uid_dict import UID_dictionary  # noqa: PLC0415
    from pynetdicom import AllStoragePresentationContexts  # noqa: PLC0415

    named = {
        uid
        for uid, (name, kind, *_) in UID_dictionary.items()
        if kind == "SOP Class"
        and "Storage" in name
        and not any(part in name for part in _NAMES_WITHOUT_PATIENT + _NAMES_OF_OTHER_SERVICES)
    }
    return frozenset(named | {str(context.abstract_syntax) for context in AllStoragePresentationContexts})


@cache
def transfer_syntaxes() -> frozenset[str]:
    """Every transfer syntax that encodes a data set, retired ones too."""
    from pydicom._uid_dict import UID_dictionary  # noqa: PLC0415 - on first use, as above

    named = {uid for uid, (_, kind, *_) in UID_dictionary.items() if kind == "Transfer Syntax"}
    return frozenset(named - _NOT_FOR_DATA_SETS)


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """An accepted presentation context."""

    id: int
    abstract_syntax: str
    transfer_syntax: str


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both ends hold to for an association's life."""

    contexts: Mapping[int, PresentationContext]  # the accepted ones, by ID
    answers: tuple[AnsweredContext, ...]  # to all proposed ones, in their order
    user: UserInformation  # our side of it
    peer_max_length: int  # bytes of the largest PDU that the peer receives, after the header; 0: any


@dataclass(frozen=True, slots=True)
class Offer:
    """What we can agree to."""

    sop_classes: frozenset[str]
    transfer_syntaxes: frozenset[str]
    max_pdu: int  # bytes after the header

    def agree(self, request: AssociateRequest) -> Agreement:
        """Answer a request's contexts and user information."""
        answers = tuple(self._answer(context) for context in request.contexts)
        contexts = {
            proposed.id: PresentationContext(proposed.id, proposed.abstract_syntax, answer.transfer_syntax)
            for proposed, answer in zip(request.contexts, answers, strict=True)
            if answer.result is ContextResult.ACCEPTANCE
        }
        user = UserInformation(
            max_length=self.max_pdu,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION_NAME,
            # One operation at a time (PS3.7 D.3.3.3): more are answered in order, which senders gain nothing from.
            asynchronous_window=None if request.user.asynchronous_window is None else (1, 1),
            # C-GET, when it comes, will let the requestor be SCP.
            roles=tuple(Role(role.sop_class_uid, scu=role.scu, scp=False) for role in request.user.roles),
            extended=(),  # storage keeps to the defaults of PS3.4 B.3.1; C-FIND will answer here
        )
        return Agreement(contexts, answers, user, request.user.max_length)

    def _answer(self, context: ProposedContext) -> AnsweredContext:
        if context.abstract_syntax not in self.sop_classes:
            result = ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED
        else:
            for syntax in context.transfer_syntaxes:
                if syntax in self.transfer_syntaxes:
                    return AnsweredContext(context.id, ContextResult.ACCEPTANCE, syntax)
            result = ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED
        return AnsweredContext(context.id, result, context.transfer_syntaxes[0])


def offer(settings: Dimse) -> Offer:
    """All that the standard has for storage and verification, and the settings' private UIDs."""
    return Offer(
        storage_sop_classes() | {VERIFICATION} | set(settings.accepted_sop_classes),
        transfer_syntaxes() | set(settings.accepted_transfer_syntaxes),
        settings.max_pdu,
    )
