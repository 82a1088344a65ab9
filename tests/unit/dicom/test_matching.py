"""Matching of what a header says itself."""

import pytest

from imagerepo.dicom.matching import holds
from imagerepo.model.header import Attribute, Header
from imagerepo.model.query import Between, BetweenMoments, Equals, Fuzzy, Match, OneOf, Path, Wildcard

HEADER: Header = {
    "00080008": Attribute("CS", ("ORIGINAL", "PRIMARY", "", "AXIAL")),
    "00080021": Attribute("DA", ("20240131",)),
    "00080031": Attribute("TM", ("101500.5",)),
    "00080080": Attribute("LO", ("St. [Mary]",)),
    "00081030": Attribute("LO", ("a" * 1023 + "bc",)),
    "00081070": Attribute("PN", ("Ray^Xavier=山田",)),
    "00101010": Attribute("AS"),
    "00101030": Attribute("DS", (72.5,)),
    "00200012": Attribute("IS", (7,)),
    "00200052": Attribute("UI", ("1.2.3",)),
    "00400275": Attribute(
        "SQ",
        (
            {"00401001": Attribute("SH", ("R1",)), "00400009": Attribute("SH", ("S1",))},
            {"00401001": Attribute("SH", ("R2",)), "00400009": Attribute("SH", ("S2",))},
            {},
        ),
    ),
}
REQUESTED, SCHEDULED = ("00400275", "00401001"), ("00400275", "00400009")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ([(("00080008",), Equals("AXIAL"))], True),
        ([(("00080008",), Equals("axial"))], False),
        ([(("00080008",), Wildcard("PRIM*"))], True),
        ([(("00080080",), Wildcard("*[Mary]"))], True),
        ([(("00080080",), Wildcard("*[M]*"))], False),
        ([(("00081030",), Wildcard("a*b"))], True),  # of a value its first 1024 characters
        ([(("00081030",), Wildcard("a*c"))], False),
        ([(("00081070",), Equals("ray^xavier"))], True),
        ([(("00081070",), Equals("山田"))], True),
        ([(("00081070",), Fuzzy("xav"))], True),
        ([(("00081070",), Fuzzy("avier"))], False),
        ([(("00080021",), Between("20240131", "20240131"))], True),
        ([(("00080021",), Between("20240201", ""))], False),
        ([(("00080021",), BetweenMoments("2024013110", ""))], True),
        ([(("00080031",), Between("10", "1015"))], True),
        ([(("00101030",), Equals("72.50"))], True),
        ([(("00101030",), Equals("heavy"))], False),
        ([(("00200012",), Equals("007"))], True),
        ([(("00200052",), OneOf(("1.2", "1.2.3")))], True),
        ([(("00101010",), Wildcard("?*"))], False),
        ([(("00189999",), Equals("x"))], False),
        ([(("00400275",), Equals("x"))], False),
        ([(("00080021", "00401001"), Equals("x"))], False),
        ([(REQUESTED, Equals("R2"))], True),
        ([(REQUESTED, Equals("R2")), (SCHEDULED, Equals("S2"))], True),
        ([(REQUESTED, Equals("R1")), (SCHEDULED, Equals("S2"))], False),
        ([(REQUESTED, Equals("R1")), (("00200012",), Equals("8"))], False),
        ([], True),
    ],
)
def test_a_header_has_what_is_asked_or_not(*, keys: list[tuple[Path, Match]], expected: bool) -> None:
    assert holds(HEADER, keys) is expected
