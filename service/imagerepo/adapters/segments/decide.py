"""Identify: is a request new, a duplicate, a new version, or to be refused?"""

import sqlite3
from dataclasses import dataclass
from enum import Enum

from imagerepo.errors import ConflictError
from imagerepo.model.events import OnDifference, StoreRequest


class Decision(Enum):
    """What to do with a request to store."""

    STORE = "store"
    DUPLICATE = "duplicate"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision, with the version that it is about."""

    decision: Decision
    version: int = 0
    error: ConflictError | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """A version that is stored, or will be by the commit under way."""

    number: int
    digest: bytes
    transfer_syntax: str
    study_uid: str
    series_uid: str


@dataclass(frozen=True, slots=True)
class History:
    """What there is of an instance, and was."""

    known: list[Known]  # oldest first
    last: int  # the last version number that was given, also to what has been deleted since; 0 if none


_INSTITUTION = "SELECT id FROM institution WHERE name = ?"
_INSTANCE = "SELECT id FROM instance WHERE institution_id = ? AND uid = ?"
_GONE = "SELECT number FROM gone WHERE institution_id = ? AND uid = ?"
_VERSIONS = (
    "SELECT v.number, v.digest, v.transfer_syntax, t.uid, s.uid FROM instance i JOIN study t ON t.id = i.study_id "
    "JOIN series s ON s.id = i.series_id JOIN version v ON v.instance_id = i.id WHERE i.id = ? ORDER BY v.number"
)


class Visible:
    """The versions that are visible through one connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._institutions: dict[str, int] = {}

    def of(self, request: StoreRequest) -> History:
        """All of the request's instance."""
        names = (self._institution(request.caller.institution), request.attributes.instance_uid)
        # Most instances are new: this look and the one below are all that they need.
        row = self._connection.execute(_INSTANCE, names).fetchone()
        if row is None:
            gone = self._connection.execute(_GONE, names).fetchone()
            return History([], 0 if gone is None else gone[0])
        known = [Known(*one) for one in self._connection.execute(_VERSIONS, row)]
        return History(known, known[-1].number)

    def _institution(self, name: str) -> int:
        key = self._institutions.get(name, 0)  # 0: has no row yet, and no instance
        if not key and (row := self._connection.execute(_INSTITUTION, (name,)).fetchone()) is not None:
            key = self._institutions[name] = row[0]
        return key


def as_known(request: StoreRequest, number: int) -> Known:
    """The version that storing `request` makes."""
    attributes = request.attributes
    return Known(number, request.digest, request.transfer_syntax, attributes.study_uid, attributes.series_uid)


def decide(request: StoreRequest, history: History) -> Decided:
    """Compare a request with the versions there are.

    A version that came back after a newer one is a duplicate too: a queue that sends again must not undo a correction.
    What was deleted is stored again: its numbers go on, so that a number never names two states.
    """
    known = history.known
    for one in known:
        if one.digest == request.digest and one.transfer_syntax == request.transfer_syntax:
            return Decided(Decision.DUPLICATE, one.number)
    if not known:
        return Decided(Decision.STORE, history.last + 1)
    last = known[-1]
    if (last.study_uid, last.series_uid) != (request.attributes.study_uid, request.attributes.series_uid):
        # As a new version it would vanish from the study where it was acknowledged.
        return Decided(
            Decision.REFUSE,
            error=ConflictError(
                f"SOP Instance UID {request.attributes.instance_uid} is stored in another study or series "
                f"({last.study_uid}); give the instance a UID of its own"
            ),
        )
    if request.on_difference is OnDifference.REFUSE:
        return Decided(
            Decision.REFUSE,
            error=ConflictError(
                f"a different instance is stored as {request.attributes.instance_uid}, and this institution refuses "
                "new versions (setting institutions[].on_difference)"
            ),
        )
    return Decided(Decision.STORE, last.number + 1)
