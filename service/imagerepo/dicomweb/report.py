"""What became of each part of a store request, and the answer that says so.

Source: PS3.18 section 10.5.3 (Response), Table 10.5.3-1, Annex I (Store Instances Response Module), Table I.2-2.
"""

from dataclasses import dataclass, field
from typing import Final

from imagerepo.dicom.values import quote
from imagerepo.dicomweb.store_answers import ALREADY_STORED
from imagerepo.dicomweb.warnings import warning
from imagerepo.errors import (
    BadDicomError,
    ConflictError,
    ForbiddenError,
    ImagerepoError,
    MismatchError,
    OutOfSpaceError,
    TooLargeError,
    UnavailableError,
)
from imagerepo.model.arrival import Outcome, OutcomeKind
from imagerepo.model.uids import Uid
from imagerepo.web.faults import Headers

# Failure Reason (0008,1197); the first class that an error is an instance of decides.
_OUT_OF_RESOURCES: Final = 0xA700
_DOES_NOT_MATCH: Final = 0xA900
_CANNOT_UNDERSTAND: Final = 0xC000
_PROCESSING_FAILURE: Final = 0x0110
_DUPLICATE_INSTANCE: Final = 0x0111  # PS3.7 C.5.3
_NOT_AUTHORIZED: Final = 0x0124  # PS3.7 C.5.16
_REASONS: Final[tuple[tuple[type[ImagerepoError], int], ...]] = (
    (OutOfSpaceError, _OUT_OF_RESOURCES),
    (TooLargeError, _OUT_OF_RESOURCES),
    (UnavailableError, _PROCESSING_FAILURE),
    (MismatchError, _DOES_NOT_MATCH),
    (ConflictError, _DUPLICATE_INSTANCE),
    (ForbiddenError, _NOT_AUTHORIZED),
    (BadDicomError, _CANNOT_UNDERSTAND),
)
_COMMENT: Final = 64  # characters of an LO
_TOLD: Final = 8  # longer sentences that an answer's headers tell
_SENTENCE: Final = 500  # characters of each


@dataclass(slots=True)
class Report:
    """Grows by one small entry a part."""

    base: str  # the URL below which the caller sees its institution
    _stored: list[str] = field(default_factory=list[str])
    _failed: list[str] = field(default_factory=list[str])
    _unreadable: list[str] = field(default_factory=list[str])
    _cut: list[str] = field(default_factory=list[str])  # sentences longer than a comment may be, the first of them
    _studies: set[Uid] = field(default_factory=set[Uid])
    _already: int = 0  # of the stored, those that were there before
    _causes: set[type[ImagerepoError]] = field(default_factory=set[type[ImagerepoError]])

    @property
    def stored(self) -> int:
        """Parts that are stored, now or before."""
        return len(self._stored)

    @property
    def refused(self) -> int:
        """Parts that are not."""
        return len(self._failed) + len(self._unreadable)

    def add(self, outcome: Outcome, number: int) -> None:
        """Enter what became of an instance that was tried."""
        if outcome.error is None:
            assert outcome.study_uid is not None
            self._studies.add(outcome.study_uid)
            self._already += outcome.kind is OutcomeKind.DUPLICATE
            url = f"{self._study(outcome.study_uid)}/series/{outcome.series_uid}/instances/{outcome.instance_uid}"
            self._stored.append(_item([*_sop(outcome), _retrieve(url)]))
            return
        self._causes.add(type(outcome.error))
        if outcome.instance_uid is None:
            self.refuse(outcome.error, number)
        else:
            self._failed.append(_item([self._comment(outcome.error, number), *_sop(outcome), _reason(outcome.error)]))

    def refuse(self, error: ImagerepoError, number: int) -> None:
        """Enter a part that names no instance, as far as it could be read."""
        self._causes.add(type(error))
        self._unreadable.append(_item([self._comment(error, number), _reason(error)]))

    @property
    def status(self) -> int:
        """The answer's status: all, some or none are stored."""
        if not self.refused:
            return 200
        if self._stored:
            return 202
        if all(issubclass(cause, OutOfSpaceError) for cause in self._causes):
            return 507
        # 409 tells the sender that repeating cannot help; that must be true of something.
        return 503 if all(issubclass(cause, UnavailableError) for cause in self._causes) else 409

    def headers(self) -> Headers:
        """The sentences for which a comment has no room, the first of them, each whole; how many were there before."""
        already = [(ALREADY_STORED.encode(), b"%d" % self._already)] if self._already else []
        return [*already, *(warning(self.base, text[:_SENTENCE]) for text in self._cut)]

    def _comment(self, error: ImagerepoError, number: int) -> str:
        # Error Comment, as C-STORE answers have it (PS3.7 9.3.1.2): the part and what is wrong with it.
        text = f"part {number}: {error}"
        if len(text) > _COMMENT:
            if len(self._cut) < _TOLD:
                self._cut.append(text)
            text = f"{text[: _COMMENT - 1]}…"
        return f'"00000902":{{"vr":"LO","Value":[{quote(text)}]}}'

    def summary(self) -> str:
        """What was stored, for an answer that is an error."""
        return f"of the parts before, {self.stored} are stored and {self.refused} are refused"

    def encode(self) -> bytes:
        """The Store Instances Response Module as DICOM JSON."""
        members: list[str] = []
        if len(self._studies) == 1:
            members.append(_retrieve(self._study(next(iter(self._studies)))))
        for tag, items in (
            ("00081198", self._failed),  # Failed SOP Sequence
            ("00081199", self._stored),  # Referenced SOP Sequence
            ("0008119A", self._unreadable),  # Other Failures Sequence
        ):
            if items:
                members.append(f'"{tag}":{{"vr":"SQ","Value":[{",".join(items)}]}}')
        return f"{{{','.join(sorted(members))}}}".encode("utf-8", "replace")

    def _study(self, uid: Uid) -> str:
        return f"{self.base}/dicom-web/studies/{uid}"


def _item(members: list[str]) -> str:
    return f"{{{','.join(members)}}}"


def _sop(outcome: Outcome) -> list[str]:
    return [
        f'"00081150":{{"vr":"UI","Value":["{outcome.sop_class_uid}"]}}',
        f'"00081155":{{"vr":"UI","Value":["{outcome.instance_uid}"]}}',
    ]


def _retrieve(url: str) -> str:
    return f'"00081190":{{"vr":"UR","Value":[{quote(url)}]}}'


def _reason(error: ImagerepoError) -> str:
    code = next((code for kind, code in _REASONS if isinstance(error, kind)), _CANNOT_UNDERSTAND)
    return f'"00081197":{{"vr":"US","Value":[{code}]}}'
