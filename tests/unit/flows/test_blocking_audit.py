"""The audit as threads use it: the same entries, made before the call returns."""

import threading
from pathlib import Path

import pytest

from imagerepo.adapters.segments.intervals import SharedIntervals
from imagerepo.errors import UnavailableError
from imagerepo.flows.audit import Audit
from imagerepo.flows.blocking_audit import BlockingAudit
from imagerepo.model.events import Action
from tests.unit.flows.test_audit import CALLER, Ledger


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@pytest.fixture
def audit(ledger: Ledger, tmp_path: Path) -> BlockingAudit:
    SharedIntervals.create(tmp_path / "intervals")
    return BlockingAudit(Audit(ledger, SharedIntervals(tmp_path / "intervals"), 60))


def test_reads_of_many_threads_are_one_entry_and_one_count(audit: BlockingAudit, ledger: Ledger) -> None:
    threads = [threading.Thread(target=audit.read, args=(CALLER, "1.2")) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.said() == [(Action.READ, {"study": "1.2"})]
    audit.close()
    assert ledger.said()[1:] == [(Action.READ_COUNT, {"study": "1.2", "count": 50})]


def test_a_query_is_entered_before_its_answer_leaves(audit: BlockingAudit, ledger: Ledger) -> None:
    audit.query(CALLER, "PatientID=1")
    assert ledger.said() == [(Action.QUERY, {"query": "PatientID=1"})]
    audit.close()


def test_what_cannot_be_entered_may_not_be_read(audit: BlockingAudit, ledger: Ledger) -> None:
    ledger.error = UnavailableError("broken disk")
    with pytest.raises(UnavailableError, match="broken disk"):
        audit.read(CALLER, "1.2")
    ledger.error = None
    audit.read(CALLER, "1.2")
    assert ledger.said() == [(Action.READ, {"study": "1.2"})]
    audit.close()


def test_closed_it_enters_nothing_more(audit: BlockingAudit) -> None:
    audit.close()
    with pytest.raises(UnavailableError):
        audit.read(CALLER, "1.2")


def test_its_thread_ends_with_it(audit: BlockingAudit) -> None:
    before = set(threading.enumerate())
    audit.query(CALLER, "*")
    assert "audit" in {one.name for one in set(threading.enumerate()) - before}
    audit.close()
    assert set(threading.enumerate()) <= before


def test_counts_that_cannot_be_entered_do_not_keep_it_from_ending(audit: BlockingAudit, ledger: Ledger) -> None:
    audit.read(CALLER, "1.2")
    ledger.error = UnavailableError("broken disk")
    audit.close()
    assert ledger.said() == [(Action.READ, {"study": "1.2"})]
