"""What the lines of commits say has changed (ports.feed.ChangeFeed), gathered to pages."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from imagerepo.adapters.segments import lines
from imagerepo.errors import ForgottenError
from imagerepo.model.change import Change, ChangeKind
from imagerepo.model.events import Action
from imagerepo.model.uids import Uid
from imagerepo.ports.feed import PASSED, ChangePage, Mark, Marks

KINDS: Final = {
    Action.STORE: ChangeKind.STORED,
    Action.DELETE: ChangeKind.DELETED,
    Action.HOLD: ChangeKind.HELD,
    Action.RELEASE: ChangeKind.RELEASED,
}
"""What entries of the journal tell of a change."""

MOST_COMMITS: Final = 2000
"""Commits that one page looks at, however few of them changed something of the institution."""

UNKNOWN: Final = (
    "this position is none of this repository, or is no more since a backup of it was restored: "
    "begin without one, or at `now`"
)


def changes(journal: Iterable[bytes], institution: str, commit: int, place: str) -> Iterator[Change]:
    """Each change of an institution that the lines of one commit tell of, in order.

    Raises DamagedError, which begins with `place`.
    """
    # What nearly all lines are told by costs less than parsing them: every line begins like this (lines.py).
    heads = tuple(f'{{"action":"{action}","institution":"{institution}",'.encode() for action in KINDS)
    for number, line in enumerate(line for line in journal if line.startswith(heads)):
        said = lines.parse_line(line, place)
        series, instance = said.get("series"), said.get("instance")
        yield Change(
            id=f"{commit}-{number}",
            kind=KINDS[said["action"]],
            at=datetime.fromisoformat(said["at"]),
            caller=said["caller"],
            study_uid=Uid(said["study"]),
            series_uid=None if series is None else Uid(series),
            instance_uid=None if instance is None else Uid(instance),
            version=said.get("version", 0),
            instances=said.get("instances", 0),
            reason=said.get("reason", ""),
        )


class Gathered:
    """A page, as it grows. It may end within a commit, which is passed over as far when the next page begins."""

    def __init__(self, marks: Marks, limit: int) -> None:
        """Begin behind `marks`."""
        within = marks.get(PASSED, Mark("", 0))
        self._commit, self._passed = within.segment, within.position
        self._limit = limit
        self._changes: list[Change] = []
        self.marks = dict(marks)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for another change."""
        return len(self._changes) >= self._limit

    def take(self, commit: int, changed: Sequence[Change], writer: str, behind: Mark) -> bool:
        """Take what changed in a commit, which ends at a writer's mark; whether there was room for all of it.

        Raises:
            ForgottenError: the commit is not the one within which the page before ended.
        """
        if changed and self._passed and (self._commit != str(commit) or self._passed >= len(changed)):
            raise ForgottenError(UNKNOWN)
        told = self._passed if changed else 0
        end = told + self._limit - len(self._changes)
        self._changes += changed[told:end]
        if end < len(changed):
            self.marks[PASSED] = Mark(str(commit), end)
            return False
        self.marks[writer] = behind
        if changed:
            self._passed = 0
            self.marks[PASSED] = Mark("", 0)
        return True

    def page(self, *, more: bool) -> ChangePage:
        """All that was taken."""
        return ChangePage(self._changes, self.marks, more)
