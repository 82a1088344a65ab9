"""Reads and queries in the journal: one entry a caller, study and interval; the counts when it closes."""

import asyncio
from pathlib import Path

import pytest

from imagerepo.adapters.segments.intervals import SharedIntervals
from imagerepo.errors import OutOfSpaceError, UnavailableError
from imagerepo.flows.audit import Audit
from imagerepo.model.caller import Caller, Protocol, Role
from imagerepo.model.events import Action, CommitKind, Committed, JournalRequest

CALLER = Caller("default", "token:viewer", "10.0.0.1", Protocol.HTTP, frozenset({Role.READ}))


class Ledger:
    """A journal that can be full, or out of order."""

    def __init__(self) -> None:
        self.entries: list[JournalRequest] = []
        self.error: UnavailableError | None = None

    def commit(self, requests):
        if self.error:
            return [Committed(CommitKind.FAILED, error=self.error) for _ in requests]
        self.entries.extend(requests)
        return [Committed(CommitKind.JOURNALED) for _ in requests]

    def said(self) -> list[tuple[Action, dict[str, str | int]]]:
        return [(one.action, dict(one.detail)) for one in self.entries]


@pytest.fixture
def intervals(tmp_path: Path) -> Path:
    SharedIntervals.create(tmp_path / "intervals")
    return tmp_path / "intervals"


def test_a_hundred_reads_are_one_entry_and_one_count(intervals: Path) -> None:
    ledger = Ledger()

    async def read() -> None:
        audit = Audit(ledger, SharedIntervals(intervals), 60)
        await asyncio.gather(*(audit.read(CALLER, "1.2") for _ in range(100)))
        assert ledger.said() == [(Action.READ, {"study": "1.2"})]
        await audit.close(force=True)

    asyncio.run(read())
    assert ledger.said()[1:] == [(Action.READ_COUNT, {"study": "1.2", "count": 100})]


def test_two_processes_share_an_interval(intervals: Path) -> None:
    ledger = Ledger()

    async def read() -> None:
        one, other = (Audit(ledger, SharedIntervals(intervals), 60) for _ in range(2))
        for _ in range(3):
            await one.read(CALLER, "1.2")
            await other.read(CALLER, "1.2")
        await other.close(force=True)
        await one.close(force=True)

    asyncio.run(read())
    assert ledger.said() == [
        (Action.READ, {"study": "1.2"}),
        (Action.READ_COUNT, {"study": "1.2", "count": 6}),
    ]


def test_another_caller_or_study_is_another_entry(intervals: Path) -> None:
    ledger = Ledger()
    other = Caller("default", "token:other", "10.0.0.1", Protocol.HTTP, frozenset({Role.READ}))

    async def read() -> None:
        audit = Audit(ledger, SharedIntervals(intervals), 60)
        await audit.read(CALLER, "1.2")
        await audit.read(CALLER, "1.3")
        await audit.read(other, "1.2")

    asyncio.run(read())
    assert len(ledger.entries) == 3


def test_after_an_interval_the_next_read_is_a_new_entry(intervals: Path) -> None:
    ledger = Ledger()

    async def read() -> None:
        audit = Audit(ledger, SharedIntervals(intervals), 0.01)
        await audit.read(CALLER, "1.2")
        await asyncio.sleep(0.02)
        await audit.read(CALLER, "1.2")

    asyncio.run(read())
    assert [action for action, _ in ledger.said()] == [Action.READ, Action.READ_COUNT, Action.READ]


def test_an_interval_whose_process_died_does_not_hide_later_reads(intervals: Path) -> None:
    ledger = Ledger()

    async def read() -> None:
        dead = Audit(ledger, SharedIntervals(intervals), 0.01)
        await dead.read(CALLER, "1.2")
        await asyncio.sleep(0.02)
        await Audit(ledger, SharedIntervals(intervals), 60).read(CALLER, "1.2")
        await dead.close(force=True)

    asyncio.run(read())
    assert [action for action, _ in ledger.said()] == [Action.READ, Action.READ_COUNT, Action.READ]


def test_nothing_may_leave_when_the_first_access_cannot_be_entered(intervals: Path) -> None:
    ledger = Ledger()
    ledger.error = UnavailableError("no journal")

    async def read() -> None:
        audit = Audit(ledger, SharedIntervals(intervals), 60)
        answers = await asyncio.gather(*(audit.read(CALLER, "1.2") for _ in range(3)), return_exceptions=True)
        assert all(isinstance(answer, UnavailableError) for answer in answers)
        ledger.error = None
        await audit.read(CALLER, "1.2")

    asyncio.run(read())
    assert ledger.said() == [(Action.READ, {"study": "1.2"})]


def test_on_a_full_disk_reading_goes_on_and_is_entered_later(intervals: Path) -> None:
    ledger = Ledger()
    ledger.error = OutOfSpaceError("full")

    async def read() -> None:
        audit = Audit(ledger, SharedIntervals(intervals), 60)
        await audit.read(CALLER, "1.2")
        await audit.query(CALLER, "studies?PatientID=1")
        ledger.error = None
        await audit.close(force=False)

    asyncio.run(read())
    assert [action for action, _ in ledger.said()] == [Action.READ, Action.QUERY]
