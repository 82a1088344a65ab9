import pytest

from imagerepo.dicom.match_values import check_order, match_of
from imagerepo.errors import BadRequestError
from imagerepo.model.query import Between, Equals, Match, OneOf, Wildcard


@pytest.mark.parametrize(
    ("vr", "values", "expected"),
    [
        ("LO", (), None),
        ("LO", ("*",), None),
        ("LO", ("**",), None),
        ("LO", ("A", "*"), None),
        ("LO", ("A",), Equals("A")),
        ("LO", ("A*",), Wildcard("A*")),
        ("PN", ("?x",), Wildcard("?x")),
        ("CS", ("CT", "MR", "CT"), OneOf(("CT", "MR"))),
        ("UI", ("1.2",), Equals("1.2")),
        ("UI", ("1.2", "1.3"), OneOf(("1.2", "1.3"))),
        ("DA", ("20240229",), Equals("20240229")),
        ("DA", ("20240101", "2024.01.02"), OneOf(("20240101", "20240102"))),
        ("DA", ("2024.02.29",), Equals("20240229")),
        ("DA", ("20240101-",), Between("20240101", "")),
        ("DA", ("-20240101",), Between("", "20240101")),
        ("DA", ("20240101 - 20240102",), Between("20240101", "20240102")),
        ("TM", ("10",), Between("10", "10")),
        ("TM", ("10:30-11:00:00.5",), Between("1030", "110000.5")),
        ("IS", ("12",), Equals("12")),
    ],
)
def test_values_ask_for_the_match_that_the_standard_says(
    vr: str, values: tuple[str, ...], expected: Match | None
) -> None:
    assert match_of("Name", vr, values) == expected


@pytest.mark.parametrize(
    ("vr", "values"),
    [
        ("DA", ("20230229",)),
        ("DA", ("2024",)),
        ("DA", ("-",)),
        ("DA", ("20240101", "20240102-20240103")),
        ("TM", ("24",)),
        ("TM", ("1:",)),
        ("UI", ("1.2.*",)),
        ("UI", ("01.2",) * 2 + ("a",)),
        ("UI", tuple(f"1.{number}" for number in range(1001))),
        ("IS", ("1.5",)),
        ("CS", ("A", "B*")),
        ("LO", ("A", "B")),
        ("PN", ("A", "B")),
        ("LO", ("x" * 1025,)),
        ("LO", ("a\x1bb",)),
    ],
)
def test_values_that_cannot_be_matched_are_refused_by_name(vr: str, values: tuple[str, ...]) -> None:
    with pytest.raises(BadRequestError, match="Name"):
        match_of("Name", vr, values)


def test_a_range_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(BadRequestError, match="ends before it begins"):
        check_order("Name", Between("2", "1"))
    check_order("Name", Between("2", ""))
    check_order("Name", Between("", "1"))
