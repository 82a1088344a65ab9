import pytest

from imagerepo.dicomweb.qido import is_brief
from imagerepo.model.query import Between, BetweenMoments, Equals, Fuzzy, Key, Level, Match, OneOf, Query, Wildcard

STUDY = (Key.STUDY_INSTANCE_UID, Equals("1.2"))


@pytest.mark.parametrize(
    "matches",
    [
        (),
        ((Key.PATIENT_ID, Equals("1")),),
        ((Key.SOP_CLASS_UID, Equals("1.2")),),
        (STUDY, (Key.MODALITY, Wildcard("C*"))),
        (STUDY, (Key.STUDY_DATE, Between("20240101", ""))),
        (STUDY, (Key.STUDY_DATE, BetweenMoments("20240101", ""))),
        (STUDY, (Key.PATIENT_NAME, Fuzzy("doe"))),
    ],
)
def test_a_search_that_no_uid_leads_leaves_the_event_loop(matches: tuple[tuple[Key, Match], ...]) -> None:
    assert not is_brief(Query("a", Level.INSTANCE, matches, 1, 0))


def test_a_search_that_reads_headers_leaves_the_event_loop() -> None:
    asked = ((("00080080",), Equals("x")),)
    assert not is_brief(Query("a", Level.STUDY, (STUDY,), 1, 0, asked))


def test_a_search_that_a_uid_leads_stays() -> None:
    assert is_brief(Query("a", Level.STUDY, (STUDY,), 1, 0))
    assert is_brief(Query("a", Level.STUDY, ((Key.STUDY_INSTANCE_UID, OneOf(("1.2", "1.3"))),), 2, 0))
    assert not is_brief(Query("a", Level.STUDY, (STUDY,), 5000, 0))
