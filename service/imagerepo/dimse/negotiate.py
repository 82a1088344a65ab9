"""What we agree to: presentation contexts and the sub-items about roles and windows.

Instances are stored as received, so the requestor's order decides: of the transfer syntaxes it proposes the
first that we know is accepted.

Source: PS3.8 section 7.1.1, PS3.7 Annex D.3; PS3.4 Annex B (Storage Service Class).
"""

from collections.abc import Container, Iterable, Mapping
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
from imagerepo.dimse.query_retrieve import extended_answer
from imagerepo.settings import Dimse

VERIFICATION: Final = "1.2.840.10008.1.1"

_MOST_STORED: Final = "1.2.840.10008.1.2.1"  # Explicit VR Little Endian
# What is no image may only be sent in the encodings that compress no pixels (PS3.5 Annex A.1 to A.3, A.5).
NATIVE_SYNTAXES: Final = frozenset(
    {
        "1.2.840.10008.1.2",  # Implicit VR Little Endian
        "1.2.840.10008.1.2.1",  # Explicit VR Little Endian
        "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
        "1.2.840.10008.1.2.2",  # Explicit VR Big Endian, retired
    }
)

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
class Roles:
    """Which roles the requestor of the association takes for a SOP class (PS3.7 D.3.3.4)."""

    scu: bool
    scp: bool


DEFAULT_ROLES: Final = Roles(scu=True, scp=False)
"""What holds where nothing was negotiated."""


@dataclass(frozen=True, slots=True)
class PresentationContext:
    """An accepted presentation context."""

    id: int
    abstract_syntax: str
    transfer_syntax: str
    roles: Roles = DEFAULT_ROLES
    extended: bytes = b""
    """What was agreed in SOP class extended negotiation (PS3.7 D.3.3.5), as the acceptor answered; empty: nothing."""


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

    storage: frozenset[str]  # SOP classes whose instances can be sent here, and fetched from here
    services: frozenset[str]  # the other SOP classes
    transfer_syntaxes: frozenset[str]
    max_pdu: int  # bytes after the header

    def agree(self, request: AssociateRequest) -> Agreement:
        """Answer a request's contexts and user information."""
        roles = {role.sop_class_uid: self._roles(role) for role in request.user.roles}
        fetched = {uid for uid, role in roles.items() if role.scp}
        answers = tuple(self._answer(context, fetched) for context in request.contexts)
        accepted = {
            proposed.abstract_syntax
            for proposed, answer in zip(request.contexts, answers, strict=True)
            if answer.result is ContextResult.ACCEPTANCE
        }
        extended = {
            sop_class: answer
            for sop_class, asked in request.user.extended
            if sop_class in accepted and (answer := extended_answer(sop_class, asked))
        }
        contexts = {
            proposed.id: PresentationContext(
                proposed.id,
                proposed.abstract_syntax,
                answer.transfer_syntax,
                roles.get(proposed.abstract_syntax, DEFAULT_ROLES),
                extended.get(proposed.abstract_syntax, b""),
            )
            for proposed, answer in zip(request.contexts, answers, strict=True)
            if answer.result is ContextResult.ACCEPTANCE
        }
        user = UserInformation(
            max_length=self.max_pdu,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION_NAME,
            # One operation at a time (PS3.7 D.3.3.3): more are answered in order, which senders gain nothing from.
            asynchronous_window=None if request.user.asynchronous_window is None else (1, 1),
            roles=tuple(Role(uid, scu=role.scu, scp=role.scp) for uid, role in roles.items()),
            extended=tuple(extended.items()),
        )
        return Agreement(contexts, answers, user, request.user.max_length)

    def _answer(self, context: ProposedContext, fetched: Container[str]) -> AnsweredContext:
        if context.abstract_syntax in self.storage or context.abstract_syntax == VERIFICATION:
            possible = self.transfer_syntaxes
        elif context.abstract_syntax in self.services:
            possible = NATIVE_SYNTAXES
        else:
            return AnsweredContext(
                context.id, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, context.transfer_syntaxes[0]
            )
        proposed = context.transfer_syntaxes
        if context.abstract_syntax in fetched and _MOST_STORED in proposed:
            # What is fetched is sent as it is stored: of several syntaxes in one context, as most instances are.
            proposed = (_MOST_STORED, *proposed)
        for syntax in proposed:
            if syntax in possible:
                return AnsweredContext(context.id, ContextResult.ACCEPTANCE, syntax)
        return AnsweredContext(context.id, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, context.transfer_syntaxes[0])

    def _roles(self, proposed: Role) -> Roles:
        """A requestor that fetches with C-GET is SCP of the storage classes: it is sent instances."""
        return Roles(proposed.scu, proposed.scp and proposed.sop_class_uid in self.storage)


def storage(settings: Dimse) -> frozenset[str]:
    """All that the standard has for storage, and the settings' private SOP classes."""
    return storage_sop_classes() | set(settings.accepted_sop_classes)


def offer(settings: Dimse, services: Iterable[str] = ()) -> Offer:
    """Storage and verification, and the SOP classes of other services."""
    return Offer(
        storage(settings),
        frozenset(services) - storage(settings),
        transfer_syntaxes() | set(settings.accepted_transfer_syntaxes),
        settings.max_pdu,
    )
