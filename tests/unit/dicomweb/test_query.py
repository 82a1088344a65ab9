import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagerepo.dicomweb.query import Search, Within, parse
from imagerepo.errors import BadRequestError
from imagerepo.model.query import Between, BetweenMoments, Equals, Fuzzy, Key, Level, Match, OneOf, Wildcard
from imagerepo.model.uids import Uid


def asked(*parameters: tuple[str, str], level: Level = Level.STUDY) -> Search:
    return parse(parameters, Within("default", level), 100)


def match(name: str, value: str, level: Level = Level.STUDY) -> Match | None:
    found = asked((name, value), level=level).query.matches
    return found[0][1] if found else None


@pytest.mark.parametrize("name", ["PatientName", "00100010"])
def test_attributes_are_named_by_keyword_or_tag(name: str) -> None:
    assert asked((name, "DOE^JOHN")).query.matches == ((Key.PATIENT_NAME, Equals("DOE^JOHN")),)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PatientID", "123", Equals("123")),
        ("PatientID", "12*", Wildcard("12*")),
        ("PatientName", "?OE^*", Wildcard("?OE^*")),
        ("PatientName", "*", None),
        ("PatientName", "", None),
        ("StudyInstanceUID", "1.2,3.4", OneOf(("1.2", "3.4"))),
        ("StudyInstanceUID", "1.2\\3.4\\1.2", OneOf(("1.2", "3.4"))),
        ("StudyInstanceUID", "1.2", Equals("1.2")),
        ("StudyDate", "20240229", Equals("20240229")),
        ("StudyDate", "20240101-20240131", Between("20240101", "20240131")),
        ("StudyDate", "-20240131", Between("", "20240131")),
        ("StudyDate", "20240101-", Between("20240101", "")),
        ("StudyTime", "1200", Between("1200", "1200")),
        ("StudyTime", "10-113000.5", Between("10", "113000.5")),
        ("ModalitiesInStudy", "CT", Equals("CT")),
        ("ModalitiesInStudy", "CT,MR", OneOf(("CT", "MR"))),
    ],
)
def test_values_say_how_they_match(name: str, value: str, expected: Match | None) -> None:
    assert match(name, value) == expected


def test_uids_may_be_repeated() -> None:
    both = asked(("StudyInstanceUID", "1.2"), ("0020000D", "3.4")).query.matches
    assert both == ((Key.STUDY_INSTANCE_UID, OneOf(("1.2", "3.4"))),)


def test_the_path_narrows_the_search() -> None:
    within = Within("default", Level.INSTANCE, Uid("1.2"), Uid("1.2.3"))
    found = parse([("InstanceNumber", "4")], within, 100).query.matches
    assert dict(found) == {
        Key.INSTANCE_NUMBER: Equals("4"),
        Key.STUDY_INSTANCE_UID: Equals("1.2"),
        Key.SERIES_INSTANCE_UID: Equals("1.2.3"),
    }


def test_limit_and_offset_are_bounded() -> None:
    query = asked(("limit", "5"), ("offset", "7")).query
    assert (query.limit, query.offset) == (5, 7)
    assert asked(("limit", "5000")).query.limit == 100
    assert asked().query.limit == 100


def test_included_fields_are_checked() -> None:
    asked(("includefield", "all"), ("includefield", "00081030,PatientName"), ("fuzzymatching", "false"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "-1"),
        ("limit", "many"),
        ("offset", "1.5"),
        ("offset", "999999999"),
        ("fuzzymatching", "yes"),
        ("includefield", "NoSuchField"),
        ("NoSuchAttribute", "1"),
        ("99990010", "1"),
        ("PixelData", "1"),
        ("InstitutionName", "1"),
        ("RequestAttributesSequence.NoSuchAttribute", "1"),
        ("RequestAttributesSequence", "1"),
        ("RequestAttributesSequence.RequestedProcedureID", "1"),
        ("SOPInstanceUID", "1.2"),
        ("StudyInstanceUID", "1.2.x"),
        ("StudyInstanceUID", "1" * 65),
        ("StudyDate", "20230229"),
        ("StudyDate", "2024-01-01"),
        ("StudyDate", "20240201-20240101"),
        ("StudyDate", "-"),
        ("StudyTime", "2500"),
        ("PatientID", "a\0b"),
        ("PatientID", "x" * 2000),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    with pytest.raises(BadRequestError, match=name):
        asked((name, value))


def test_other_values_are_not_lists() -> None:
    with pytest.raises(BadRequestError, match="PatientID is given 2 times"):
        asked(("PatientID", "1"), ("PatientID", "2"))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["StudyDate", "StudyTime", "PatientName", "limit", "offset", "StudyInstanceUID", "InstanceNumber"]
            )
            | st.text(max_size=12),
            st.text("0123456789.-*?\\,ab", max_size=20) | st.text(max_size=20),
        ),
        max_size=4,
    )
)
def test_any_query_is_understood_or_refused(parameters: list[tuple[str, str]]) -> None:
    with contextlib.suppress(BadRequestError):
        parse(parameters, Within("default", Level.INSTANCE), 100)


@pytest.mark.parametrize(
    ("name", "most", "level"),
    [
        ("StudyInstanceUID", 1000, Level.STUDY),
        ("SOPInstanceUID", 1000, Level.INSTANCE),
        ("SOPClassUID", 1000, Level.INSTANCE),
        ("ModalitiesInStudy", 100, Level.SERIES),
        ("Modality", 100, Level.STUDY),
    ],
)
@pytest.mark.parametrize("separator", [",", "\\"])
def test_a_list_is_searched_up_to_its_limit_and_refused_beyond(
    name: str, most: int, level: Level, separator: str
) -> None:
    values = [f"1.{number}" for number in range(most)]
    assert match(name, separator.join([*values, *values]), level) == OneOf(tuple(values))
    with pytest.raises(BadRequestError, match=f"{name} lists {most + 1} values; {most} at the most"):
        match(name, separator.join([*values, "2.1"]), level)
    with pytest.raises(BadRequestError, match=f"{most} at the most"):
        asked(*((name, value) for value in [*values, "2.1"]), level=level)


def test_fuzzy_matching_is_of_names_alone() -> None:
    found = asked(("PatientName", "doe*"), ("PatientID", "1*"), ("fuzzymatching", "true"))
    assert dict(found.query.matches) == {Key.PATIENT_NAME: Fuzzy("doe"), Key.PATIENT_ID: Wildcard("1*")}
    assert found.unsupported == ()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("DOE^JOHN", Fuzzy("DOE^JOHN")),
        ("*john doe*", Fuzzy("john doe")),
        ("*oh*", Wildcard("*oh*")),
        ("D?E", Wildcard("D?E")),
        ("D*^J*", Wildcard("D*^J*")),
    ],
)
def test_wildcards_within_a_name_keep_their_meaning_where_it_is_fuzzy(name: str, expected: Match) -> None:
    assert asked(("PatientName", name), ("fuzzymatching", "true")).query.matches == ((Key.PATIENT_NAME, expected),)


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        ("20240101-20240131", "08-12", BetweenMoments("2024010108", "2024013112")),
        ("20240101-", "08-12", BetweenMoments("2024010108", "")),
        ("-20240131", "08-", BetweenMoments("", "20240131")),
    ],
)
def test_ranges_of_a_date_and_its_time_are_one_range(date: str, time: str, expected: Match) -> None:
    assert asked(("StudyDate", date), ("StudyTime", time)).query.matches == ((Key.STUDY_DATE, expected),)


def test_a_day_and_a_time_or_a_range_and_a_minute_stay_apart() -> None:
    day = asked(("StudyDate", "20240101"), ("StudyTime", "08-12")).query.matches
    assert dict(day) == {Key.STUDY_DATE: Equals("20240101"), Key.STUDY_TIME: Between("08", "12")}
    minute = asked(("StudyDate", "20240101-20240131"), ("StudyTime", "0815")).query.matches
    assert dict(minute)[Key.STUDY_TIME] == Between("0815", "0815")


OPTIONAL = {("00080080",), ("00400275", "00401001"), ("00400275", "00400009"), ("00080021",)}


def optional(*parameters: tuple[str, str], level: Level = Level.SERIES) -> Search:
    return parse(parameters, Within("default", level), 100, OPTIONAL)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("InstitutionName", "St*", (("00080080",), Wildcard("St*"))),
        ("00080080", "Here", (("00080080",), Equals("Here"))),
        ("SeriesDate", "20240101-", (("00080021",), Between("20240101", ""))),
        ("RequestAttributesSequence.RequestedProcedureID", "7", (("00400275", "00401001"), Equals("7"))),
        ("00400275.00400009", "S?", (("00400275", "00400009"), Wildcard("S?"))),
    ],
)
def test_optional_keys_are_matched_in_headers(name: str, value: str, expected: tuple[object, Match]) -> None:
    found = optional((name, value))
    assert found.query.optional == (expected,)
    assert found.query.with_header
    assert found.fields.matched == {expected[0][0]}  # type: ignore[index]


def test_an_optional_key_without_a_value_is_only_shown() -> None:
    found = optional(("InstitutionName", ""))
    assert (found.query.optional, found.fields.matched) == ((), {"00080080"})


@pytest.mark.parametrize(
    ("fields", "level", "needed"),
    [
        ("PatientName,00081030", Level.STUDY, False),
        ("PatientName,00081030", Level.SERIES, False),
        ("ModalitiesInStudy", Level.STUDY, False),
        ("PatientAge", Level.STUDY, True),
        ("all", Level.INSTANCE, True),
        ("Rows,Columns,SOPClassUID", Level.INSTANCE, False),
        ("RequestAttributesSequence.RequestedProcedureID", Level.SERIES, True),
    ],
)
def test_headers_are_read_only_for_what_the_index_lacks(*, fields: str, level: Level, needed: bool) -> None:
    assert asked(("includefield", fields), level=level).query.with_header is needed


def test_an_ancestor_that_the_path_names_is_described_where_it_is_asked_for() -> None:
    within = Within("default", Level.SERIES, Uid("1.2"))
    assert parse([("includefield", "PatientName")], within, 100).query.with_header
