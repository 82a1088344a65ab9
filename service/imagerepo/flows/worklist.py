"""Scheduled steps, put in by who plans them and asked for by modalities, and what modalities report of them.

Source: PS3.4 Annex K (Basic Worklist Management Service Class), Annex F.7 (Modality Performed Procedure Step).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from blake3 import blake3

from imagerepo.dicom import header
from imagerepo.dicom.matching import holds
from imagerepo.errors import BadRequestError, ConflictError, NotFoundError, RefusedError, TooLargeError
from imagerepo.model.caller import Caller
from imagerepo.model.events import Action, JournalRequest
from imagerepo.model.header import Attribute, Header
from imagerepo.model.query import Between, BetweenMoments, Equals, Match, Path, together
from imagerepo.model.uids import is_uid
from imagerepo.model.worklist import (
    BEGINNING,
    Bounds,
    Cursor,
    PerformedStatus,
    PerformedStep,
    ScheduledStep,
    StepState,
    first,
)
from imagerepo.ports.commits import Commits
from imagerepo.ports.worklist import Worklist as Store

PAGE: Final = 100  # items read at a time
MOST_STEPS: Final = 100
"""Performed steps of a study that are told."""
STEP_SEQUENCE: Final = "00400100"  # Scheduled Procedure Step Sequence
_STEP_STATUS: Final = "00400020"
_STEP_ID: Final = "00400009"
_PROCEDURE_ID: Final = "00401001"
_DAY: Final = (STEP_SEQUENCE, "00400002")
_TIME: Final = (STEP_SEQUENCE, "00400003")
_PATIENT_ID: Final = "00100020"
_STUDY_UID: Final = "0020000D"
_SCHEDULED_ATTRIBUTES: Final = "00400270"  # Scheduled Step Attributes Sequence
_STATUS: Final = "00400252"
_ID: Final = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,63}\Z")
_SHORT: Final = 16  # characters of an SH
_LARGEST_STEP: Final = 1 << 20  # bytes of a performed step, as JSON
_MOST_SCHEDULED: Final = 100  # scheduled steps that a performed one is about
_QUERY: Final = 1000  # characters of a query kept in the journal

# What a modality cannot do without: keyword for messages, tag, and whether it stands in the step's item.
_REQUIRED: Final = (("PatientName", "00100010"), ("PatientID", _PATIENT_ID))
_REQUIRED_OF_STEP: Final = (
    ("Modality", "00080060"),
    ("ScheduledStationAETitle", "00400001"),
    ("ScheduledProcedureStepStartDate", "00400002"),
)


class IncompleteStepError(BadRequestError):
    """A performed step lacks what it has to have."""

    def __init__(self, message: str, tags: tuple[str, ...]) -> None:
        """Name the attributes, "00400252", that are missing."""
        super().__init__(message)
        self.tags = tags


class WrongStatusError(BadRequestError):
    """A performed step has a status that it cannot have."""


class FinishedStepError(RefusedError):
    """A performed step is completed or discontinued, and cannot be changed any more."""


class Worklist:
    """Safe to call from any number of threads; all methods block."""

    def __init__(self, store: Store, commits: Commits) -> None:
        """Assemble: where steps are kept, and the journal's way in."""
        self._store = store
        self._commits = commits

    # Scheduled steps

    def put(self, caller: Caller, id: str, content: Header) -> tuple[ScheduledStep, bool]:  # noqa: A002 - the URL's
        """Add an item, or change it as a whole; what it is now, and whether it is new.

        What has to be unique and was left out is made from its id: Study Instance UID, Scheduled Procedure Step ID,
        Requested Procedure ID.

        Raises:
            BadRequestError: it lacks what a modality needs, or its id cannot be one.
        """
        if _ID.match(id) is None:
            raise BadRequestError(
                "the id is 1 to 64 letters, digits, '.', '_' and '-', and begins with one of the first"
            )
        step = _complete(caller.institution, id, content)
        # First into the journal: what it then fails to become can be put again, what it lacks could not be told.
        self._enter(caller, Action.SCHEDULE, worklist=id, study=step.study_uid)
        new = self._store.put(step)
        return self.scheduled(caller, id), new

    def scheduled(self, caller: Caller, id: str) -> ScheduledStep:  # noqa: A002 - the URL's
        """An item. Raises NotFoundError."""
        found = self._store.scheduled(caller.institution, id)
        if found is None:
            raise NotFoundError(f"the worklist has no item {id[:64]!r}")
        return _with_state(found, found.state)

    def remove(self, caller: Caller, id: str) -> None:  # noqa: A002 - the URL's
        """Remove an item. Raises NotFoundError."""
        self.scheduled(caller, id)
        self._enter(caller, Action.UNSCHEDULE, worklist=id)
        self._store.remove(caller.institution, id)

    def pages(self, institution: str, bounds: Bounds) -> Iterator[Sequence[ScheduledStep]]:
        """Items that are neither completed nor discontinued, by day and time, page by page."""
        after: Cursor = BEGINNING
        while page := self._store.page(institution, bounds, after, PAGE):
            yield page
            after = (page[-1].day, page[-1].time, page[-1].id)
            if len(page) < PAGE:
                return

    def find(self, caller: Caller, keys: Sequence[tuple[Path, Match]], text: str) -> Iterator[Sequence[Header]]:
        """Items that match, page by page.

        Args:
            caller: who asks.
            keys: what is matched.
            text: the query as the journal keeps it.
        """
        self._enter(caller, Action.QUERY, query=text[:_QUERY])
        wanted = _with_moment(keys)
        for page in self.pages(caller.institution, _bounds(keys)):
            yield [_with_state(step, step.state).content for step in page if _matches(step, wanted)]

    # Performed steps

    def begin(self, caller: Caller, uid: str, content: Header) -> PerformedStep:
        """A modality begins a step (N-CREATE).

        Raises:
            IncompleteStepError, WrongStatusError: PS3.4 Table F.7.2-1 is not kept.
            ConflictError: there is a step with that UID.
        """
        missing = [tag for tag in (_STATUS, _SCHEDULED_ATTRIBUTES) if not (content.get(tag) and content[tag].values)]
        if missing:
            raise IncompleteStepError(
                "Performed Procedure Step Status (0040,0252), Scheduled Step Attributes Sequence (0040,0270): needed",
                tuple(missing),
            )
        if _status(content) is not PerformedStatus.IN_PROGRESS:
            raise WrongStatusError("a step begins with the status IN PROGRESS")
        step = PerformedStep(caller.institution, uid, PerformedStatus.IN_PROGRESS, content, datetime.now(UTC))
        if not step.scheduled or not all(is_uid(study) for study, _ in step.scheduled):
            raise IncompleteStepError(
                "(0040,0270) needs items, each with a Study Instance UID (0020,000D)", (_STUDY_UID,)
            )
        if len(step.scheduled) > _MOST_SCHEDULED:
            raise TooLargeError(f"(0040,0270) has more than {_MOST_SCHEDULED} items")
        _check_size(step.content)
        known = self._store.performed(caller.institution, uid) is not None
        if not known:
            self._report(caller, step)
        if known or not self._store.begin(step):
            raise ConflictError(f"there is a performed procedure step {uid}")
        return step

    def change(self, caller: Caller, uid: str, changes: Header) -> PerformedStep:
        """A modality tells more of a step (N-SET).

        Raises:
            NotFoundError: there is no such step.
            FinishedStepError: it is completed or discontinued.
            WrongStatusError: the new status is none.
        """

        def changed(step: PerformedStep) -> PerformedStep:
            if step.status is not PerformedStatus.IN_PROGRESS:
                raise FinishedStepError(f"the step is {step.status}: it may no longer be updated")
            # Which steps it is about was said when it began (PS3.4 Table F.7.2-1 has no N-SET for it).
            told = {tag: one for tag, one in changes.items() if tag != _SCHEDULED_ATTRIBUTES}
            content = dict(sorted({**step.content, **told}.items()))
            _check_size(content)
            new = replace(step, status=_status(content), content=content, changed_at=datetime.now(UTC))
            self._report(caller, new)
            return new

        step = self._store.change(caller.institution, uid, changed)
        if step is None:
            raise NotFoundError(f"there is no performed procedure step {uid[:64]!r}")
        return step

    def performed(self, caller: Caller, uid: str) -> PerformedStep:
        """A performed step. Raises NotFoundError."""
        step = self._store.performed(caller.institution, uid)
        if step is None:
            raise NotFoundError(f"there is no performed procedure step {uid[:64]!r}")
        return step

    def performed_of(self, caller: Caller, study_uid: str) -> Sequence[PerformedStep]:
        """Performed steps of a study, the oldest first, at most MOST_STEPS."""
        return self._store.performed_of(caller.institution, study_uid, MOST_STEPS)

    def _report(self, caller: Caller, step: PerformedStep) -> None:
        told = {"step": step.uid, "status": step.status.value}
        studies = dict.fromkeys(study for study, _ in step.scheduled)
        self._enter_all(caller, Action.PERFORM, [{"study": study, **told} for study in studies])

    def _enter(self, caller: Caller, action: Action, **detail: str) -> None:
        self._enter_all(caller, action, [detail])

    def _enter_all(self, caller: Caller, action: Action, details: Sequence[Mapping[str, str]]) -> None:
        at = datetime.now(UTC)
        for entered in self._commits.commit(
            [JournalRequest(caller, action, at, tuple(one.items())) for one in details]
        ):
            if entered.error is not None:
                raise entered.error


def _check_size(content: Header) -> None:
    if len(header.document(content)) > _LARGEST_STEP:
        raise TooLargeError(f"a performed procedure step above {_LARGEST_STEP} bytes")


def _complete(institution: str, id: str, content: Header) -> ScheduledStep:  # noqa: A002 - the URL's
    steps = content.get(STEP_SEQUENCE)
    items = [one for one in steps.values if isinstance(one, Mapping)] if steps else []
    if len(items) != 1:
        raise BadRequestError(
            f"ScheduledProcedureStepSequence has {len(items)} items; each item of the worklist is one step"
        )
    item = dict(items[0])
    missing = [name for name, tag in _REQUIRED if not first(content, tag)]
    missing += [f"ScheduledProcedureStepSequence.{name}" for name, tag in _REQUIRED_OF_STEP if not first(item, tag)]
    if missing:
        raise BadRequestError(f"a modality cannot do without {', '.join(missing)}")
    whole = dict(content)
    if not first(item, _STEP_ID):
        item[_STEP_ID] = Attribute("SH", (_short(id, "ScheduledProcedureStepSequence.ScheduledProcedureStepID"),))
    if not first(whole, _PROCEDURE_ID):
        whole[_PROCEDURE_ID] = Attribute("SH", (_short(id, "RequestedProcedureID"),))
    if not first(whole, _STUDY_UID):
        whole[_STUDY_UID] = Attribute("UI", (_uid_of(institution, id),))
    whole[STEP_SEQUENCE] = Attribute("SQ", (dict(sorted(item.items())),))
    step = ScheduledStep(
        institution,
        id,
        dict(sorted(whole.items())),
        StepState.SCHEDULED,
        first(whole, _STUDY_UID),
        first(item, _STEP_ID),
        first(whole, _PATIENT_ID),
        first(item, _DAY[1]),
        first(item, _TIME[1]),
        datetime.now(UTC),
    )
    return _with_state(step, StepState.SCHEDULED)


def _with_state(step: ScheduledStep, state: StepState) -> ScheduledStep:
    """The item with its step's status, which is ours to say."""
    item = step.content[STEP_SEQUENCE].values[0]
    assert isinstance(item, Mapping)
    told = dict(sorted({**item, _STEP_STATUS: Attribute("CS", (state.value,))}.items()))
    return replace(step, state=state, content={**step.content, STEP_SEQUENCE: Attribute("SQ", (told,))})


def _short(id: str, name: str) -> str:  # noqa: A002 - the URL's
    if len(id) > _SHORT:
        raise BadRequestError(
            f"{name} is missing, and the id is too long to stand for it: an SH has {_SHORT} characters"
        )
    return id


def _uid_of(institution: str, id: str) -> str:  # noqa: A002 - the URL's
    """The same each time that an item is put; of the root that UUIDs have (PS3.5 B.2)."""
    return f"2.25.{int.from_bytes(blake3(f'{institution}/{id}'.encode()).digest(16))}"


def _status(content: Header) -> PerformedStatus:
    told = first(content, _STATUS)
    try:
        return PerformedStatus(told)
    except ValueError:
        known = ", ".join(one.value for one in PerformedStatus)
        raise WrongStatusError(f"the status {told[:16]!r} is not one of {known}") from None


def _bounds(keys: Sequence[tuple[Path, Match]]) -> Bounds:
    first_day = last_day = patient_id = ""
    for path, match in keys:
        if path == _DAY and isinstance(match, Between):
            first_day, last_day = match.low, match.high
        elif path == _DAY and isinstance(match, Equals):
            first_day = last_day = match.value
        elif path == (_PATIENT_ID,) and isinstance(match, Equals):
            patient_id = match.value
    return Bounds(first_day, last_day, patient_id)


def _with_moment(keys: Sequence[tuple[Path, Match]]) -> Sequence[tuple[Path, Match]]:
    """Ranges of start date and start time as one range of moments (PS3.4 Table K.6-1, remark on the start time)."""
    found = dict(keys)
    days, hours = found.get(_DAY), found.get(_TIME)
    # Of a time that is no range its minute is asked for, whatever the day.
    if not isinstance(days, Between) or not isinstance(hours, Between) or hours.low == hours.high:
        return keys
    del found[_TIME]
    return [*((path, match) for path, match in found.items() if path != _DAY), (_DAY, together(days, hours))]


def _matches(step: ScheduledStep, keys: Sequence[tuple[Path, Match]]) -> bool:
    for path, match in keys:
        if path == _DAY and isinstance(match, BetweenMoments):
            moment = step.day + step.time
            if moment < match.low[: len(moment)] or (match.high and moment[: len(match.high)] > match.high):
                return False
    return holds(step.content, [(path, match) for path, match in keys if not isinstance(match, BetweenMoments)])
