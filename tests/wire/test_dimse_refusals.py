"""Refused associations are in the journal, whatever is reloaded, and cannot fill it."""

from imagerepo.dimse import refusals
from imagerepo.model.events import JournalRequest
from imagerepo.settings import Audit, Institution, Sender, Settings
from tests.wire.dimse_peer import Peer, associate_rq, rejected
from tests.wire.dimse_serving import Served, serving, within

LISTED = Institution(id="clinic", senders=(Sender(ae_title="PEER"),))


def refused(served: Served, **request: str) -> None:
    with Peer(served.port) as peer:
        assert rejected(peer, associate_rq(**request))[:2] == (1, 1)


def entries(served: Served) -> list[tuple[str, str]]:
    """Institution and caller of each entry."""
    return [
        (one.caller.institution, one.caller.name) for one in served.memory.journal if isinstance(one, JournalRequest)
    ]


def test_an_institution_that_was_reloaded_has_its_refusals_in_its_journal() -> None:
    with serving(Settings(institutions=(LISTED,))) as served:
        sender = (Sender(ae_title="PEER"),)
        served.repository.access.replace(
            (
                Institution(id="north", called_ae_titles=("NORTH",), senders=sender),
                Institution(id="south", called_ae_titles=("SOUTH",), senders=sender),
            )
        )
        refused(served, called="SOUTH", calling="STRANGER")
        assert entries(served) == [("south", "ae:STRANGER")]


def test_a_sender_that_goes_on_being_refused_is_one_entry_an_interval_and_a_count() -> None:
    with serving(Settings(institutions=(LISTED,), audit=Audit(interval=3600))) as served:
        for _ in range(5):
            refused(served, calling="STRANGER")
            refused(served, calling="OTHER")
        refused(served, called="NOBODY", calling="STRANGER")
        assert sorted(entries(served)) == [("clinic", f"ae:{name}") for name in ("OTHER", "STRANGER", "STRANGER")]
        served.server.drain(0)
        counts = served.refusals[3:]
        assert len(counts) == 2
        assert all("refused 4 times more" in one and "institutions[].senders" in one for one in counts)


def test_the_count_is_entered_when_the_interval_is_over() -> None:
    with serving(Settings(institutions=(LISTED,), audit=Audit(interval=0.5))) as served:
        for _ in range(3):
            refused(served, calling="STRANGER")
        within(20, lambda: "more" in served.refusals[-1])
        before = len(served.refusals)
        refused(served, calling="STRANGER")
        assert len(served.refusals) == before + 1


def test_names_made_up_for_each_association_do_not_fill_memory_or_journal(monkeypatch) -> None:
    monkeypatch.setattr(refusals, "SENDERS", 3)
    with serving(Settings(institutions=(LISTED,), audit=Audit(interval=3600))) as served:
        for number in range(20):
            refused(served, calling=f"S{number}")
        assert entries(served) == [("clinic", f"ae:S{number}") for number in range(4)]
        served.server.drain(0)
        assert "16 associations more" in served.refusals[-1]
        assert len(served.refusals) == 5
