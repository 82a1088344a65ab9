"""Delete studies, series and instances, and set and lift the legal holds that forbid it.

A deletion is durable, and its rows are gone, when it returns. Its bytes follow in the background.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from imagerepo import telemetry
from imagerepo.errors import BadRequestError, HeldError, UnavailableError
from imagerepo.model.caller import Caller
from imagerepo.model.events import Action, ChangeRequest, CommitKind, JournalRequest
from imagerepo.model.hold import Hold
from imagerepo.model.scope import Scope
from imagerepo.model.uids import Uid
from imagerepo.ports.commits import Commits
from imagerepo.ports.holds import Holds
from imagerepo.ports.index import Index
from imagerepo.settings_deletion import Deletion as Settings

_REASON: Final = 1000  # characters


class Deletion:
    """Deletes and holds. Safe to call from any number of threads; every method blocks."""

    def __init__(self, commits: Commits, index: Index, holds: Holds, settings: Settings) -> None:
        self._commits = commits
        self._index = index
        self._holds = holds
        self._settings = settings

    def delete(self, caller: Caller, scope: Scope, reason: str) -> int:
        """Delete all that `scope` names; how many instances that were.

        Raises:
            NotFoundError: it names nothing.
            HeldError: its study is held; the attempt is in the journal.
            BadRequestError: a reason is needed, or it is too long.
            UnavailableError: nothing was deleted.
        """
        if not reason.strip() and self._settings.reason == "required":
            raise BadRequestError("a deletion needs a reason (setting deletion.reason): add ?reason=…")
        study = scope.study_uid or Uid(self._index.study_of(scope))
        names = (study, scope.series_uid, scope.instance_uid)
        request = ChangeRequest(caller, Action.DELETE, datetime.now(UTC), *names, _reason(reason))
        try:
            deleted = self._commit(request)
        except HeldError as error:
            detail = (("reason", f"deletion of {request.name}: {error}"),)
            self._commits.commit([JournalRequest(caller, Action.REFUSE, request.at, detail)])
            raise
        telemetry.deleted_instances.labels(caller.institution).inc(deleted)
        return deleted

    def hold(self, caller: Caller, study: Uid, reason: str) -> None:
        """Have nothing of a study deleted from now on; a hold that is set already gets the new reason.

        Raises:
            NotFoundError: there is no such study.
            BadRequestError: the reason is missing or too long.
            UnavailableError: it is not held.
        """
        self._change(caller, Action.HOLD, study, reason)

    def release(self, caller: Caller, study: Uid, reason: str) -> None:
        """Lift a study's hold. Raises NotFoundError if it has none, BadRequestError, UnavailableError."""
        self._change(caller, Action.RELEASE, study, reason)

    def hold_of(self, caller: Caller, study: Uid) -> Hold | None:
        """A study's hold."""
        return self._holds.of(caller.institution, study)

    def holds(self, caller: Caller, after: str, limit: int) -> Sequence[Hold]:
        """Holds of the caller's institution, in order of Study Instance UID, after that of the last one seen."""
        return self._holds.page(caller.institution, after, limit)

    def _change(self, caller: Caller, action: Action, study: Uid, reason: str) -> None:
        if not reason.strip():
            raise BadRequestError("a legal hold is set and lifted for a reason: add ?reason=…")
        self._commit(ChangeRequest(caller, action, datetime.now(UTC), study, None, None, _reason(reason)))

    def _commit(self, request: ChangeRequest) -> int:
        (result,) = self._commits.commit([request])
        if result.kind is not CommitKind.CHANGED:
            raise result.error or UnavailableError("the commit failed; try again")
        return result.instances


def _reason(text: str) -> str:
    if len(text) > _REASON:
        raise BadRequestError(f"the reason has {len(text)} characters, more than {_REASON}")
    if not text.isprintable():
        # It is shown in terminals and pages later on.
        raise BadRequestError("the reason has characters that are not printable")
    return text.strip()
